//! Both instruction sets give the same sound.

use super::*;

/// 40 ms of a bank with the given settings, and its phases.
fn sound(simd: Level, set: &[(usize, f32)]) -> (Vec<f32>, Vec<f32>) {
    let mut p = Kuramoto::new();
    set.iter().for_each(|(id, v)| p.set_param(*id, *v));
    if set.contains(&(OSCILLATORS, 13.0)) {
        p.set_array(ARRAY_EDGES, &[0.0, 1.0, 0.5, 12.0, 3.0, -0.5, 3.0, 0.0, 1.0]);
    }
    p.prepare(&Prepare { sample_rate: 48_000.0, max_block: 64, channels: 2 }).unwrap();
    p.simd = simd;
    p.reset();
    p.set_param(HARMONIC_COUNT, 5.0);
    let mut out = Vec::new();
    for b in 0..30 {
        let mut x: Vec<f32> = (0..128).map(|i| 0.3 * ((b * 64 + i % 64) as f32 * 0.06).sin()).collect();
        p.process(&mut Block::new(&mut x, 64, 64));
        out.extend(x);
    }
    let mut phases = vec![0.0; p.count];
    p.read_tap(TAP_PHASES, &mut phases);
    (out, phases)
}

#[test]
fn all_instruction_sets_agree() {
    for (n, mode) in [(64.0, 0.0), (100.0, 1.0), (13.0, 0.0), (13.0, 1.0)] {
        let set = [(OSCILLATORS, n), (MODE, mode), (COUPLING_HZ, 40.0), (FOLLOW, 0.5), (HARMONIC_COUNT, 3.0)];
        let (a, b) = (sound(Level::Plain, &set), sound(Level::detect(), &set));
        let worst = a.0.iter().zip(&b.0).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-5, "N {n}, mode {mode}: {worst}");
        let turn = |x: f32, y: f32| ((x - y) * 0.5).sin().abs();
        let worst = a.1.iter().zip(&b.1).map(|(x, y)| turn(*x, *y)).fold(0.0, f32::max);
        assert!(worst < 2e-5, "N {n}, mode {mode}: phases differ by {worst}");
    }
}
