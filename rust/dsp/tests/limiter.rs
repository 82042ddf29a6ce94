//! The limiter's promise, measured by a true-peak meter of its own: float64, 16 times the rate,
//! 128 taps per phase.
//!
//! Tolerances: dB of the true peak between samples, and the curve of the release; far above any rounding.

mod common;
use common::{Rng, run};
use cspace_dsp::limiter::Limiter;
use cspace_dsp::{Block, Prepare, Processor};
use std::f64::consts::{PI, TAU};

const RATE: f64 = 48_000.0;
const CEILING_DB: usize = 0;
const RELEASE_MS: usize = 1;
const LOOKAHEAD_MS: usize = 2;

fn make(set: &[(usize, f32)], channels: usize) -> Limiter {
    let mut p = Limiter::new();
    set.iter().for_each(|&(id, v)| p.set_param(id, v));
    p.prepare(&Prepare { sample_rate: RATE, max_block: 512, channels }).unwrap();
    p
}

fn db(x: f64) -> f64 {
    20.0 * x.log10()
}

/// The highest point of the band-limited wave through `x`.
fn true_peak(x: &[f32]) -> f64 {
    const FINE: usize = 16;
    const HALF: i64 = 64;
    let bessel = |x: f64| {
        let (mut sum, mut term) = (1.0, 1.0);
        for k in 1..60 {
            term *= (0.5 * x / f64::from(k)).powi(2);
            sum += term;
        }
        sum
    };
    let phases: Vec<Vec<f64>> = (0..FINE)
        .map(|j| {
            let weight = |m: i64| {
                let t = j as f64 / FINE as f64 - m as f64;
                let sinc = if t == 0.0 { 1.0 } else { (PI * t).sin() / (PI * t) };
                sinc * bessel(8.0 * (1.0 - (t / HALF as f64).powi(2)).max(0.0).sqrt()) / bessel(8.0)
            };
            (1 - HALF..=HALF).map(weight).collect()
        })
        .collect();
    let pad = vec![0.0; HALF as usize];
    let x: Vec<f64> = pad.iter().copied().chain(x.iter().map(|&v| f64::from(v))).chain(pad.clone()).collect();
    x.windows(2 * HALF as usize)
        .flat_map(|w| phases.iter().map(move |h| h.iter().zip(w).map(|(a, b)| a * b).sum::<f64>().abs()))
        .fold(0.0, f64::max)
}

/// Loud signals that a limiter meets, by name.
fn loud() -> Vec<(&'static str, Vec<f32>)> {
    let frames = 12_000;
    let make = |f: &mut dyn FnMut(usize) -> f64| (0..frames).map(|i| f(i) as f32).collect::<Vec<f32>>();
    let mut rng = Rng(5);
    let tone = |hz: f64, i: usize, phase: f64| (TAU * hz * i as f64 / RATE + phase).sin();
    let mut low = 0.0;
    vec![
        ("white noise", make(&mut |_| 4.0 * f64::from(rng.uniform()))),
        ("sparse clicks", {
            let mut rng = Rng(8);
            make(&mut |_| if rng.below(300) == 0 { 5.0 * f64::from(rng.uniform()) } else { 0.01 })
        }),
        ("dark noise in bursts", {
            let mut rng = Rng(6);
            make(&mut |i| {
                low += 0.2 * (f64::from(rng.uniform()) - low);
                if i / 900 % 2 == 0 { 8.0 * low } else { 0.3 * low }
            })
        }),
        ("square", make(&mut |i| if i / 109 % 2 == 0 { 2.0 } else { -2.0 })),
        ("fs/4 at 45 degrees", make(&mut |i| 1.3 * tone(RATE / 4.0, i, PI / 4.0))),
        (
            "fs/4 in bursts",
            make(&mut |i| if i / 500 % 2 == 0 { 1.3 } else { 0.2 } * tone(RATE / 4.0, i, PI / 4.0)),
        ),
        ("fs/3 from silence", make(&mut |i| if i < 5000 { 0.0 } else { 3.0 * tone(RATE / 3.0, i, 0.3) })),
        (
            "18 kHz in short bursts",
            make(&mut |i| if i % 700 < 40 { 2.0 * tone(18_000.0, i, 0.1) } else { 0.0 }),
        ),
        ("bass and a bell", make(&mut |i| 1.5 * tone(45.0, i, 0.0) + 0.8 * tone(5_100.0, i, 0.0))),
    ]
}

#[test]
fn true_peaks_stay_below_the_ceiling() {
    for (name, x) in loud() {
        // Silence at the end, so that the limiter sees the last edge too.
        let x = [&x[..], &[0.0; 600]].concat();
        for (lookahead, release, ceiling, bound) in
            [(1.5, 60.0, -1.0, 0.1), (0.5, 5.0, -6.0, 0.2), (5.0, 20.0, 0.0, 0.1)]
        {
            let mut p = make(&[(CEILING_DB, ceiling), (RELEASE_MS, release), (LOOKAHEAD_MS, lookahead)], 1);
            let y = run(&mut p, &x, 1, |_| 256);
            let ceiling = f64::from(ceiling);
            let over = db(true_peak(&y)) - ceiling;
            let samples = db(f64::from(y.iter().fold(0f32, |m, v| m.max(v.abs()))));
            println!(
                "{name}, {lookahead} ms: true peak {:+.1} dB over the ceiling before, {over:+.3} dB after",
                db(true_peak(&x)) - ceiling
            );
            assert!(over <= bound, "{name}: true peak {over} dB over the ceiling");
            assert!(samples <= ceiling, "{name}: a sample above the ceiling");
            assert!(over > -1.5, "{name}: turned down too far, {over} dB");
        }
    }
}

#[test]
fn below_the_ceiling_it_only_delays() {
    let mut rng = Rng(3);
    // Peaks of -2 dB; the wave between the samples of such a sound stays below -1 dB.
    let mut x: Vec<f32> = (0..8000).map(|i| 0.4 * (i as f32 * 0.31).sin() + 0.1 * rng.uniform()).collect();
    x[7] = -0.0;
    for (rate, lookahead) in [(8_000.0, 0.5), (44_100.0, 1.5), (192_000.0, 10.0)] {
        let mut p = Limiter::new();
        p.set_param(LOOKAHEAD_MS, lookahead);
        p.prepare(&Prepare { sample_rate: rate, max_block: 512, channels: 2 }).unwrap();
        let late = p.latency_samples();
        assert_eq!(late, 32 + (f64::from(lookahead) * 1e-3 * rate).round() as usize);
        let y = run(&mut p, &x, 2, |_| 300);
        for c in 0..2 {
            let (x, y) = (&x[c * 4000..][..4000], &y[c * 4000..][..4000]);
            assert!(y[..late].iter().all(|v| *v == 0.0));
            assert!(x.iter().zip(&y[late..]).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}

#[test]
fn after_a_peak_the_gain_comes_back_to_one_exactly() {
    let mut x = vec![0.25; 48_000];
    x[1000] = 4.0;
    let mut p = make(&[], 1);
    let late = p.latency_samples();
    let y = run(&mut p, &x[..1000 + late + 1], 1, |_| 64);
    assert!((db(f64::from(y[1000 + late])) + 1.1).abs() < 0.1, "the peak lands at the ceiling");
    let mut reduction = [0.0];
    p.read_tap(0, &mut reduction);
    assert!((f64::from(reduction[0]) - db(4.0) - 1.1).abs() < 0.1, "{reduction:?}");

    let gains: Vec<f32> = run(&mut p, &x[1000 + late + 1..], 1, |_| 64).iter().map(|v| v / 0.25).collect();
    // Release of 60 ms: 63 % of the way back, counted from where the hold ends.
    let lowest = y[1000 + late] / 4.0;
    let at = |ms: f32| (gains[(ms * 48.0) as usize] - lowest) / (1.0 - lowest);
    assert!((at(61.5) - 0.63).abs() < 0.02, "{}", at(61.5));
    assert_eq!(*gains.last().unwrap(), 1.0);
    p.read_tap(0, &mut reduction);
    assert_eq!(reduction, [0.0]);
}

#[test]
fn channels_share_one_gain() {
    let frames = 6000;
    let mut x = vec![0.1; 3 * frames];
    x[2 * frames..].iter_mut().enumerate().for_each(|(i, v)| *v = if i / 700 % 2 == 0 { 2.0 } else { 0.2 });
    let y = run(&mut make(&[], 3), &x, 3, |_| 128);
    assert_eq!(y[..frames], y[frames..2 * frames]);
    assert!(y[3000] < 0.06, "the quiet channels are turned down with the loud one: {}", y[3000]);
}

#[test]
fn the_gain_moves_without_corners() {
    // A loud click in a bass tone: what is heard of the gain is a dip, not its edges.
    let mut x: Vec<f32> = (0..24_000).map(|i| 0.5 * (TAU * 60.0 * i as f64 / RATE).sin() as f32).collect();
    x[12_000] = 3.0;
    let mut p = make(&[], 1);
    let late = p.latency_samples();
    let mut y = run(&mut p, &x, 1, |_| 64);
    // Leave the click itself out.
    y[12_000 + late] = 0.5 * (y[12_000 + late - 1] + y[12_000 + late + 1]);
    let rough = y[late + 2..].windows(3).fold(0f32, |m, w| m.max((w[0] - 2.0 * w[1] + w[2]).abs()));
    assert!(rough < 5e-4, "{rough}");
}

/// `cargo test --release -p cspace-dsp --test limiter -- --ignored --nocapture cost`
#[test]
#[ignore = "a measurement, for a quiet machine"]
fn cost() {
    for (what, level) in [("below the ceiling", 0.1), ("limiting", 3.0)] {
        let mut p = make(&[], 2);
        let mut rng = Rng(2);
        let x: Vec<f32> = (0..128).map(|_| level * rng.uniform()).collect();
        let mut block = x.clone();
        let mut times: Vec<u128> = (0..20_000)
            .map(|_| {
                block.copy_from_slice(&x);
                let t = std::time::Instant::now();
                p.process(&mut Block::new(&mut block, 64, 64));
                t.elapsed().as_nanos()
            })
            .collect();
        times.sort_unstable();
        println!("{what}: 64 stereo frames p50 {} ns, p99 {} ns", times[10_000], times[19_800]);
    }
}
