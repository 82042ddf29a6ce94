//! The stereo tool: what each knob does, and that it does nothing at its defaults.
//!
//! Tolerances: one or two float32 products of samples below 1 (1e-6).

mod common;
use common::{Rng, run, signal};
use cspace_dsp::mix::Mix;
use cspace_dsp::{Prepare, Processor};

const RATE: f64 = 48_000.0;
const WIDTH: usize = 0;
const BALANCE: usize = 1;
const INVERT_LEFT: usize = 2;
const INVERT_RIGHT: usize = 3;
const DC_BLOCK: usize = 4;

fn make(set: &[(usize, f32)], channels: usize) -> Mix {
    let mut p = Mix::new();
    set.iter().for_each(|&(id, v)| p.set_param(id, v));
    p.prepare(&Prepare { sample_rate: RATE, max_block: 512, channels }).unwrap();
    p
}

/// Left and right after `set`, for the test signal; and the signal.
fn stereo(set: &[(usize, f32)]) -> [Vec<f32>; 4] {
    let x = signal(2, 2000, RATE);
    let y = run(&mut make(set, 2), &x, 2, |_| 100);
    [y[..2000].to_vec(), y[2000..].to_vec(), x[..2000].to_vec(), x[2000..].to_vec()]
}

fn close(a: &[f32], b: impl Iterator<Item = f32>) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
}

#[test]
fn neutral_is_the_input_bit_for_bit() {
    for channels in [1, 2, 3, 6] {
        let mut x = signal(channels, 1000, RATE);
        x[..4].copy_from_slice(&[-0.0, 1e-40, f32::MAX, f32::MIN]);
        let mut p = make(&[], channels);
        let same = |y: &[f32]| x.iter().zip(y).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same(&run(&mut p, &x, channels, |_| 64)));
        // There and back again.
        for id in 0..5 {
            p.set_param(id, 0.7);
        }
        run(&mut p, &vec![0.1; 2000 * channels], channels, |_| 64);
        for (id, v) in
            [(WIDTH, 1.0), (BALANCE, 0.0), (INVERT_LEFT, 0.0), (INVERT_RIGHT, 0.0), (DC_BLOCK, 0.0)]
        {
            p.set_param(id, v);
        }
        run(&mut p, &vec![0.1; 2000 * channels], channels, |_| 64);
        assert!(same(&run(&mut p, &x, channels, |_| 64)));
    }
}

#[test]
fn width_scales_the_difference_and_keeps_the_sum() {
    let [l, r, a, b] = stereo(&[(WIDTH, 0.0)]);
    assert_eq!(l, r);
    assert!(close(&l, a.iter().zip(&b).map(|(a, b)| 0.5 * (a + b))));
    let [l, r, a, b] = stereo(&[(WIDTH, 2.0)]);
    let minus = |l: &[f32], r: &[f32]| l.iter().zip(r).map(|(l, r)| l - r).collect::<Vec<_>>();
    assert!(close(&minus(&l, &r), minus(&a, &b).into_iter().map(|d| 2.0 * d)));
    assert!(close(&l, a.iter().zip(&b).zip(&r).map(|((a, b), r)| a + b - r)));
}

#[test]
fn balance_fades_the_other_side_in_a_straight_line() {
    let [l, r, a, b] = stereo(&[(BALANCE, 0.25)]);
    assert_eq!(r, b);
    assert!(close(&l, a.iter().map(|a| 0.75 * a)));
    let [l, r, a, _] = stereo(&[(BALANCE, -1.0)]);
    assert_eq!(l, a);
    assert!(r.iter().all(|v| *v == 0.0));
}

#[test]
fn polarity_turns_one_side() {
    let [l, r, a, b] = stereo(&[(INVERT_LEFT, 1.0)]);
    assert_eq!(r, b);
    assert!(l.iter().zip(&a).all(|(l, a)| *l == -a));
    let [l, r, a, b] = stereo(&[(INVERT_RIGHT, 1.0)]);
    assert_eq!(l, a);
    assert!(r.iter().zip(&b).all(|(r, b)| *r == -b));
}

#[test]
fn pairs_are_apart_and_a_lone_channel_has_no_sides() {
    let set = [(WIDTH, 0.3), (BALANCE, 0.5), (INVERT_LEFT, 1.0)];
    let x = signal(5, 500, RATE);
    let y = run(&mut make(&set, 5), &x, 5, |_| 100);
    for pair in 0..2 {
        let part = pair * 1000..(pair + 1) * 1000;
        assert_eq!(y[part.clone()], run(&mut make(&set, 2), &x[part], 2, |_| 100));
    }
    assert!(x[2000..].iter().zip(&y[2000..]).all(|(x, y)| *y == -x));
}

#[test]
fn dc_block_takes_the_offset_and_leaves_the_bass() {
    let tone = |hz: f64, i: usize| (std::f64::consts::TAU * hz * i as f64 / RATE).sin();
    let x: Vec<f32> = (0..96_000).map(|i| 0.5 + 0.25 * tone(30.0, i) as f32).collect();
    let mut p = make(&[(DC_BLOCK, 1.0)], 1);
    let y = run(&mut p, &x, 1, |_| 512);
    let settled = &y[48_000..];
    let mean: f64 = settled.iter().map(|v| f64::from(*v)).sum::<f64>() / 48_000.0;
    let peak = settled.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(mean.abs() < 1e-6, "offset left: {mean}");
    assert!((peak / 0.25 - 0.986).abs() < 0.002, "30 Hz by {peak}");
    assert_eq!(p.tail_samples(), 10_555);
}

#[test]
fn switches_do_not_click() {
    let mut rng = Rng(1);
    let x: Vec<f32> = (0..2)
        .flat_map(|_| {
            let phase = rng.uniform();
            (0..9600).map(move |i| 0.3 + 0.5 * (0.01 * i as f32 + phase).sin())
        })
        .collect();
    for (id, v) in [(WIDTH, 0.0), (BALANCE, 1.0), (INVERT_LEFT, 1.0), (INVERT_RIGHT, 1.0), (DC_BLOCK, 1.0)] {
        let mut p = make(&[], 2);
        let mut y = [vec![], vec![]];
        for part in 0..2 {
            let cut: Vec<f32> = (0..2).flat_map(|c| x[c * 9600 + part * 4800..][..4800].to_vec()).collect();
            let out = run(&mut p, &cut, 2, |_| 64);
            (0..2).for_each(|c| y[c].extend_from_slice(&out[c * 4800..][..4800]));
            p.set_param(id, v);
        }
        // The tone alone moves by 0.005 a sample; a ramp of 960 samples by 0.002 more.
        let step = y.iter().flat_map(|c| c.windows(2)).fold(0f32, |m, w| m.max((w[1] - w[0]).abs()));
        assert!(step < 0.01, "parameter {id}: a step of {step}");
    }
}
