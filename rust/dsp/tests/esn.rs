//! The echo state network against float64, written as its equation.
//!
//! Tolerances: 1e-5 is the promise against float64: float32 sums of up to 1000 nodes inside tanh, which forgets
//! them. Radii are found in float64, of weights kept as float32 (1e-6 and, once scaled, 1e-5).

mod common;
use common::{Rng, run, signal};
use cspace_dsp::esn::{Csr, Esn, INFO, Warm, spectral_radius};
use cspace_dsp::simd::Level;
use cspace_dsp::{Prepare, Processor};

const SPEC: Prepare = Prepare { sample_rate: 48_000.0, max_block: 256, channels: 1 };

fn esn(set: &[(&str, f32)]) -> Esn {
    let mut p = Esn::new();
    set.iter().for_each(|(name, v)| p.set_param(INFO.param_id(name).unwrap(), *v));
    p
}

fn prepared(set: &[(&str, f32)]) -> Esn {
    let mut p = esn(set);
    p.prepare(&SPEC).unwrap();
    p
}

/// Syllables of noise and tones, peak 1.
fn speech_like(frames: usize) -> Vec<f32> {
    let mut rng = Rng(5);
    let mut low = 0.0;
    (0..frames)
        .map(|i| {
            let t = i as f32 / 48_000.0;
            low += 0.2 * (rng.uniform() - low);
            let syllable = (t * 4.0 * std::f32::consts::TAU).sin().max(0.0);
            let voice =
                (t * 130.0 * std::f32::consts::TAU).sin() + 0.5 * (t * 910.0 * std::f32::consts::TAU).sin();
            (syllable * (0.5 * voice + low)).clamp(-1.0, 1.0)
        })
        .collect()
}

/// The states by the definition, in float64: T × N.
fn reference(p: &Esn, input: &[f32]) -> Vec<f64> {
    let w = p.w().unwrap();
    let mut s = vec![0f64; w.n];
    let mut out = Vec::with_capacity(input.len() * w.n);
    for &u in input {
        let next: Vec<f64> = (0..w.n)
            .map(|i| {
                let recurrent: f64 = w.row(i).map(|(j, v)| f64::from(v) * s[j]).sum();
                let drive = f64::from(p.w_in()[i]) * f64::from(u) + recurrent;
                s[i] + f64::from(p.leak()[i]) * (drive.tanh() - s[i])
            })
            .collect();
        s = next;
        out.extend_from_slice(&s);
    }
    out
}

fn states(p: &mut Esn, input: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; input.len() * p.w().unwrap().n];
    p.run_states(input, &mut out);
    out
}

fn worst(a: &[f32], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

#[test]
fn states_equal_float64_over_one_second() {
    for (nodes, density, topology) in
        [(100.0, 0.1, 0.0), (1000.0, 0.01, 0.0), (1000.0, 0.1, 0.0), (1000.0, 0.1, 1.0), (61.0, 1.0, 0.0)]
    {
        // The large ones are checked on a tenth of a second, to keep the test short.
        let input = speech_like(if nodes * nodes * density > 5e4 { 4_800 } else { 48_000 });
        let mut p = prepared(&[("nodes", nodes), ("density", density), ("topology", topology)]);
        let radius = p.achieved_radius();
        assert!((radius.value - 0.99).abs() < 1e-5 && radius.residual < 1e-6, "{radius:?}");
        let error = worst(&states(&mut p, &input), &reference(&p, &input));
        println!("N = {nodes}, density {density}, topology {topology}: state error {error:.2e}");
        assert!(error <= 1e-5, "N = {nodes}, density {density}: {error:e}");
    }
}

#[test]
fn plain_and_fast_instructions_agree() {
    let input = speech_like(4000);
    for topology in [0.0, 1.0] {
        let mut fast = prepared(&[("topology", topology)]);
        let mut plain = prepared(&[("topology", topology)]);
        plain.set_level(Level::Plain);
        let (a, b) = (states(&mut fast, &input), states(&mut plain, &input));
        let error = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error < 1e-5, "{error}");
    }
}

#[test]
fn radius_is_that_of_the_true_eigenvalues() {
    let radius = |n, dense: &[f32]| spectral_radius(&Csr::from_dense(n, dense), &mut Warm::default());
    // Rotation by 90° times 2: a complex pair. Power iteration from ones gives 2 only by luck.
    assert!((radius(2, &[0.0, -2.0, 2.0, 0.0]).value - 2.0).abs() < 1e-12);
    // Strictly triangular, shuffled: nilpotent, exactly 0.
    assert_eq!(radius(3, &[0.0, 0.0, 5.0, 3.0, 0.0, 7.0, 0.0, 0.0, 0.0]).value, 0.0);
    assert_eq!(radius(1, &[-0.5]).value, 0.5);
    // A cycle of 6 with product 64: all moduli 2, and Francis' iteration stands still on it.
    let mut cycle = vec![0.0; 36];
    (0..6).for_each(|i| cycle[i * 6 + (i + 1) % 6] = if i == 0 { 64.0 } else { 1.0 });
    assert!((radius(6, &cycle).value - 2.0).abs() < 1e-9);
    // Two components of a known radius each; weights far from 1.
    let mut two = vec![0.0; 16];
    (two[1], two[4], two[11], two[14], two[3]) = (1e-5, 4e-5, 1e5, 9e5, 1.0);
    assert!((radius(4, &two).value / 3e5 - 1.0).abs() < 1e-9);
}

#[test]
fn large_networks_reach_their_radius() {
    // A circulant matrix has known eigenvalues, here with a complex pair in the lead.
    let n = 600;
    let mut dense = vec![0f32; n * n];
    let taps = [(1usize, 1.0f32), (7, -0.5), (301, 0.8)];
    (0..n).for_each(|i| taps.iter().for_each(|&(d, v)| dense[i * n + (i + d) % n] = v));
    let exact = (0..n)
        .map(|k| {
            let angle = |d: usize| std::f64::consts::TAU * (k * d % n) as f64 / n as f64;
            let re: f64 = taps.iter().map(|&(d, v)| f64::from(v) * angle(d).cos()).sum();
            let im: f64 = taps.iter().map(|&(d, v)| f64::from(v) * angle(d).sin()).sum();
            re.hypot(im)
        })
        .fold(0.0, f64::max);
    let got = spectral_radius(&Csr::from_dense(n, &dense), &mut Warm::default());
    assert!((got.value / exact - 1.0).abs() < 1e-6, "{got:?} against {exact}");
}

#[test]
fn a_matrix_without_cycles_is_left_alone() {
    let p = prepared(&[("density", 0.0)]);
    assert_eq!((p.achieved_radius().value, p.w().unwrap().nnz()), (0.0, 0));
    let mut tap = [1.0];
    p.read_tap(INFO.tap_id("achieved_radius").unwrap(), &mut tap);
    assert_eq!(tap, [0.0]);
    // The same draw at density 0.001 gives a matrix without a cycle: not scaled.
    let p = prepared(&[("density", 0.001)]);
    assert!(p.w().unwrap().val.iter().all(|v| v.abs() <= 1.0));
}

#[test]
fn the_seed_fixes_the_network() {
    let p = prepared(&[]);
    let q = prepared(&[]);
    assert_eq!(p.w(), q.w());
    assert_ne!(p.w(), prepared(&[("seed", 43.0)]).w());
    // The first draws of ChaCha8 with seed 42: a change of generator or order would show here.
    assert_eq!(p.w_in()[..3], [-0.551_838_5, 0.363_792_3, -0.707_227_6]);
    assert_eq!(p.w().unwrap().row(0).map(|(j, _)| j).collect::<Vec<_>>(), [4, 5, 9, 11, 17, 33, 51, 58]);
    assert_eq!(p.leak()[0], 1e-4);
    assert_eq!(p.leak()[63], 1.0);
}

#[test]
fn given_arrays_are_used_as_they_are() {
    let mut rng = Rng(9);
    let mut draw = |n: usize| (0..n).map(|_| 0.3 * rng.uniform()).collect::<Vec<f32>>();
    let (w, w_in, w_out) = (draw(25), draw(5), draw(6));
    let leak = [1.0, 0.5, 0.25, 0.0, 0.1];
    let set = |p: &mut Esn, name: &str, v: &[f32]| p.set_array(INFO.array_id(name).unwrap(), v);
    let mut p = esn(&[("nodes", 5.0), ("mode", 1.0), ("wet", 1.0)]);
    for (name, v) in [("w", &w[..]), ("w_in", &w_in), ("leak", &leak), ("w_out", &w_out)] {
        assert!(set(&mut p, name, v));
    }
    p.prepare(&SPEC).unwrap();
    assert_eq!(p.w().unwrap().to_dense(), w);
    let x = signal(1, 500, 48_000.0);
    let s = reference(&p, &x);
    let y = run(&mut p, &x, 1, |_| 100);
    for (t, s) in s.chunks(5).enumerate() {
        let want: f64 =
            f64::from(w_out[0]) + s.iter().zip(&w_out[1..]).map(|(s, w)| s * f64::from(*w)).sum::<f64>();
        assert!((f64::from(y[t]) - want).abs() < 1e-6, "sample {t}: {} against {want}", y[t]);
    }
    let mut tap = [0.0; 5];
    p.read_tap(INFO.tap_id("state").unwrap(), &mut tap);
    assert!(worst(&tap, &s[s.len() - 5..]) < 1e-6);
    // Live: the readout only, of the right length and finite.
    assert!(set(&mut p, "w_out", &[0.0; 6]));
    assert!(
        !set(&mut p, "w_out", &[0.0; 5]) && !set(&mut p, "w_out", &[f32::NAN; 6]) && !set(&mut p, "w", &w)
    );
    assert!(run(&mut p, &x, 1, |_| 100).iter().all(|&y| y == 0.0));
}

#[test]
fn wrong_arrays_are_named() {
    for (name, data) in
        [("w", vec![0.0; 3]), ("w_in", vec![f32::NAN; 64]), ("leak", vec![1.5; 64]), ("w_out", vec![0.0; 64])]
    {
        let mut p = Esn::new();
        assert!(p.set_array(INFO.array_id(name).unwrap(), &data));
        let error = p.prepare(&SPEC).unwrap_err().0;
        assert!(error.contains(&format!("`{name}`")), "{error}");
    }
}

#[test]
fn texture_is_as_loud_as_the_input_and_free_of_dc() {
    let x: Vec<f32> = speech_like(96_000).iter().map(|x| 0.25 * x + 0.01).collect();
    let mut p = prepared(&[("mode", 2.0), ("wet", 1.0)]);
    let y = run(&mut p, &x, 1, |_| 256);
    let (x, y) = (&x[24_000..], &y[24_000..]);
    let rms = |v: &[f32]| (v.iter().map(|v| f64::from(v * v)).sum::<f64>() / v.len() as f64).sqrt();
    let mean = y.iter().map(|&v| f64::from(v)).sum::<f64>() / y.len() as f64;
    println!("rms in {}, out {}, mean {mean}", rms(x), rms(y));
    assert!((20.0 * (rms(y) / rms(x)).log10()).abs() < 3.0);
    assert!(mean.abs() < 0.02 * rms(y));
}

#[test]
#[ignore = "a measurement: cargo test --release -p cspace-dsp --test esn -- --ignored --nocapture"]
fn cost() {
    let input = speech_like(4000);
    for (nodes, density, topology) in [
        (100.0, 0.1, 0.0),
        (100.0, 0.1, 1.0),
        (1000.0, 0.01, 0.0),
        (1000.0, 0.01, 1.0),
        (1000.0, 0.1, 0.0),
        (1000.0, 0.1, 1.0),
        (4096.0, 0.01, 0.0),
        (4096.0, 0.1, 0.0),
    ] {
        let start = std::time::Instant::now();
        let mut p = prepared(&[("nodes", nodes), ("density", density), ("topology", topology)]);
        let setup = start.elapsed().as_secs_f64();
        // The best of many short blocks, so that other work on the machine hardly counts.
        let steps = (4e6 / (nodes * nodes * density)).clamp(4.0, 256.0) as usize;
        let mut best = f64::INFINITY;
        for at in 0..200 {
            let mut x = input[at * 10..][..steps].to_vec();
            let start = std::time::Instant::now();
            p.process(&mut cspace_dsp::Block::new(&mut x, steps, steps));
            best = best.min(start.elapsed().as_secs_f64() / steps as f64);
        }
        println!(
            "N = {nodes:4}, density {density:4}, topology {topology}: {:8.0} ns per step; prepare {setup:.2} s, {:?}",
            best * 1e9,
            p.achieved_radius()
        );
    }
}
