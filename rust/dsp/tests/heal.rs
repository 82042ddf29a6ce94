//! Heal: what is put in, when, and what it costs.

mod common;
use common::{Rng, run};
use cspace_dsp::heal::{Heal, INFO};
use cspace_dsp::{Block, Prepare, Processor};

const RATE: f64 = 48_000.0;

fn make(set: &[(&str, f32)], channels: usize) -> Heal {
    let mut p = Heal::new();
    set.iter().for_each(|(name, v)| p.set_param(INFO.param_id(name).expect(name), *v));
    p.prepare(&Prepare { sample_rate: RATE, max_block: 512, channels }).unwrap();
    p
}

fn tell(p: &mut Heal, lost: bool) {
    p.set_param(INFO.param_id("lost").unwrap(), f32::from(u8::from(lost)));
}

fn counts(p: &Heal) -> [f32; 4] {
    let mut out = [0.0; 4];
    p.read_tap(INFO.tap_id("counts").unwrap(), &mut out);
    out
}

/// Three partials that do not repeat within the clip, and noise 60 dB below.
fn music(frames: usize) -> Vec<f32> {
    let mut rng = Rng(3);
    (0..frames)
        .map(|i| {
            let tone = |hz: f64| (std::f64::consts::TAU * hz * i as f64 / RATE).sin();
            (0.3 * tone(311.3) + 0.1 * tone(1_733.7) + 0.05 * tone(4_021.1)) as f32 + 3e-4 * rng.uniform()
        })
        .collect()
}

/// 10 log10 of the power of `x` to that of its difference from `y`.
fn snr_db(x: &[f32], y: &[f32]) -> f64 {
    let sum = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>();
    10.0 * (sum(&mut x.iter().copied()) / sum(&mut x.iter().zip(y).map(|(x, y)| x - y))).log10()
}

/// Runs `x` with samples `from..to` told to be lost, and full of something else.
fn told(p: &mut Heal, x: &[f32], from: usize, to: usize) -> Vec<f32> {
    let mut y = run(p, &x[..from], 1, |_| 64);
    tell(p, true);
    y.extend(run(p, &vec![0.9; to - from], 1, |_| 64));
    tell(p, false);
    y.extend(run(p, &x[to..], 1, |_| 64));
    y
}

#[test]
fn what_is_told_is_filled_and_nothing_else_is_touched() {
    let x = music(24_000);
    let (from, to) = (15_001, 15_481); // 10 ms
    for (method, least) in [(0.0, 20.0), (1.0, 10.0), (2.0, 12.0), (3.0, 3.0)] {
        let mut p = make(&[("method", method)], 1);
        assert_eq!(p.latency_samples(), 0);
        let y = told(&mut p, &x, from, to);
        let back = to + 96; // return_ms
        assert!(x[..from].iter().zip(&y).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert!(x[back..].iter().zip(&y[back..]).all(|(a, b)| a.to_bits() == b.to_bits()));
        let snr = snr_db(&x[from..to], &y[from..to]);
        assert!(snr >= least, "method {method}: {snr} dB");
        let [told, found, seconds, longest] = counts(&p);
        assert_eq!((told, found), (1.0, 0.0));
        assert!((seconds - 0.01).abs() < 1e-6 && (longest - 10.0).abs() < 1e-3, "{seconds} s, {longest} ms");
    }
    let y = told(&mut make(&[("method", 4.0)], 1), &x, from, to);
    assert!(y[from..to].iter().all(|v| *v == 0.0));
}

#[test]
fn a_run_of_zeros_is_found_and_filled_from_its_first_sample() {
    let x = music(24_000);
    let (from, to) = (15_001, 15_961); // 20 ms
    for (detect, cut) in [(1.0, 0.0), (2.0, x[from - 1])] {
        let mut p = make(&[("detect", detect), ("detect_ms", 6.0)], 1);
        let late = p.latency_samples();
        assert_eq!(late, 288);
        let mut z = x.clone();
        z[from..to].fill(cut);
        let y = run(&mut p, &z, 1, |_| 64);
        assert!(x[..from].iter().zip(&y[late..]).all(|(a, b)| a == b), "sound before it is only delayed");
        let snr = snr_db(&x[from..to], &y[from + late..to + late]);
        assert!(snr > 25.0, "{snr} dB");
        assert_eq!(counts(&p)[..2], [0.0, 1.0]);
        assert!(x[to + 96..24_000 - late].iter().zip(&y[to + 96 + late..]).all(|(a, b)| a == b));
    }
}

#[test]
fn silence_and_short_runs_are_no_losses() {
    let x = music(24_000);
    let mut fading: Vec<f32> =
        x.iter().enumerate().map(|(i, v)| v * (1.0 - i as f32 / 20_000.0).max(0.0).powi(2)).collect();
    fading.iter_mut().for_each(|v| *v = (*v * 32_768.0).round() / 32_768.0);
    let mut short = x.clone();
    short[12_000..12_090].fill(0.0); // 1.9 ms of 2
    let mut below = x.clone();
    below.iter_mut().for_each(|v| *v *= 1e-3);
    below[12_000..14_000].fill(0.0);
    for (what, z) in [("a fade to silence", fading), ("a short run", short), ("sound below the floor", below)]
    {
        let mut p = make(&[("detect", 2.0)], 1);
        let y = run(&mut p, &z, 1, |_| 64);
        let late = p.latency_samples();
        assert_eq!(counts(&p), [0.0; 4], "{what}");
        assert!(z[..24_000 - late].iter().zip(&y[late..]).all(|(a, b)| a == b), "{what}");
    }
    // Zeros on one channel of two are music.
    let mut two = [x.clone(), x.clone()].concat();
    two[12_000..14_000].fill(0.0);
    let mut p = make(&[("detect", 1.0)], 2);
    run(&mut p, &two, 2, |_| 64);
    assert_eq!(counts(&p), [0.0; 4]);
}

#[test]
fn input_that_stays_away_fades_to_silence_and_fades_in_again() {
    let x = music(48_000);
    let mut p = make(&[("hold_ms", 20.0), ("fade_ms", 30.0), ("return_ms", 5.0)], 1);
    let y = told(&mut p, &x, 12_000, 36_000);
    let peak = |a: usize, b: usize| y[a..b].iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(peak(12_000, 12_960) > 0.2, "held");
    assert!(peak(12_960 + 1_300, 12_960 + 1_440) < 0.1, "fading");
    assert_eq!(peak(12_000 + 2_400, 36_000), 0.0);
    let step = y[36_000..36_300].windows(2).fold(0f32, |m, w| m.max((w[1] - w[0]).abs()));
    assert!(peak(36_000, 36_010) < 0.02 && step < 0.06, "fades in: step {step}");
    assert_eq!(x[36_300..], y[36_300..]);
}

#[test]
fn samples_that_are_no_numbers_are_lost() {
    let x = music(20_000);
    let mut z = x.clone();
    z[15_000..15_240].fill(f32::NAN);
    let mut p = make(&[], 1);
    let y = run(&mut p, &z, 1, |_| 64);
    assert!(y.iter().all(|v| v.is_finite()));
    assert!(snr_db(&x[15_000..15_240], &y[15_000..15_240]) > 10.0);
    assert_eq!(counts(&p)[0], 1.0);
}

#[test]
fn nothing_swells_or_steps_whatever_it_learned() {
    let frames = 12_000;
    let mut rng = Rng(9);
    let mut noise = || rng.uniform();
    let sounds: Vec<(&str, Vec<f32>)> = vec![
        ("white noise", (0..frames).map(|_| noise()).collect()),
        ("one sine", (0..frames).map(|i| (i as f32 * 0.05).sin()).collect()),
        ("square", (0..frames).map(|i| if i / 50 % 2 == 0 { 1.0 } else { -1.0 }).collect()),
        ("clicks", (0..frames).map(|i| if i % 700 == 0 { 1.0 } else { 0.0 }).collect()),
        ("rising", (0..frames).map(|i| (i as f32 * 0.3).sin() * (i as f32 / 1_500.0).exp() * 1e-4).collect()),
        ("tiny", (0..frames).map(|i| 1e-30 * (i as f32 * 0.05).sin()).collect()),
        ("huge", (0..frames).map(|i| 1e18 * (i as f32 * 0.05).sin()).collect()),
        ("constant", vec![0.5; frames]),
    ];
    for (what, x) in sounds {
        for method in 0..4 {
            let mut p = make(&[("method", method as f32), ("hold_ms", 1000.0)], 1);
            let y = told(&mut p, &x, 9_000, 11_900);
            let peak = |v: &[f32]| v.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(y.iter().all(|v| v.is_finite()), "{what}, method {method}");
            let (before, put_in) = (peak(&x[..9_000]), peak(&y[9_000..11_900]));
            assert!(put_in <= 1.51 * before, "{what}, method {method}: {put_in} after {before}");
        }
    }
}

#[test]
fn losses_one_after_another_go_on_from_what_was_heard() {
    let x = music(48_000);
    let mut p = make(&[], 1);
    let mut y = Vec::new();
    for (i, part) in x.chunks(240).enumerate() {
        let lost = i > 60 && i % 5 == 4; // 5 ms of every 25
        tell(&mut p, lost);
        y.extend(run(&mut p, &if lost { vec![0.0; part.len()] } else { part.to_vec() }, 1, |_| 64));
    }
    let snr = snr_db(&x[15_000..], &y[15_000..]);
    assert!(snr > 15.0, "{snr} dB over all; silence in the gaps has 7");
    let step = |v: &[f32]| v.windows(2).fold(0f32, |m, w| m.max((w[1] - w[0]).abs()));
    assert!(step(&y[15_000..]) < 3.0 * step(&x), "no clicks");
}

/// `cargo test --release -p cspace-dsp --test heal -- --ignored --nocapture cost`
#[test]
#[ignore = "a measurement, for a quiet machine"]
fn cost() {
    for method in 0..5 {
        let mut p = make(&[("method", method as f32)], 2);
        let mut rng = Rng(2);
        let mut block = vec![0.0; 128];
        let (mut sound, mut loss) = (Vec::new(), Vec::new());
        for i in 0..6000 {
            block.iter_mut().for_each(|x| *x = 0.1 * rng.uniform());
            let lost = i % 40 >= 38;
            tell(&mut p, lost);
            let t = std::time::Instant::now();
            p.process(&mut Block::new(&mut block, 64, 64));
            if lost { &mut loss } else { &mut sound }.push(t.elapsed().as_nanos());
        }
        for (what, times) in [("sound", &mut sound), ("loss", &mut loss)] {
            times.sort_unstable();
            let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
            println!(
                "method {method}, {what}: 64 stereo frames p10 {} p50 {} p90 {} p99 {} ns",
                at(0.1),
                at(0.5),
                at(0.9),
                at(0.99)
            );
        }
    }
}
