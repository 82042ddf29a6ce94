//! The bank with a bounded look-ahead against the float64 sums it stands for.
//!
//! Tolerances: 2e-6 of full scale. The backward half is a difference of float32 recursions of states below 1, each
//! within 1e-6, with fused products or without.

mod common;
use common::{Rng, allocations};
use cspace_dsp::cspace::bank::{Complex, OscillatorBank, Pole};
use cspace_dsp::cspace::design;
use cspace_dsp::cspace::lookahead::LookaheadBank;
use cspace_dsp::simd::Level;

const RATE: f64 = 24_000.0;

fn poles(n: usize) -> Vec<Pole> {
    let hz: Vec<f64> = (0..n).map(|k| 60.0 * 150f64.powf(k as f64 / n as f64)).collect();
    if n.is_multiple_of(2) {
        design::constant_q(&hz, 8.0, RATE)
    } else {
        design::legacy(&hz, 0.999, 0.6, RATE)
    }
}

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| rng.uniform()).collect()
}

/// All rows of a sound, `sizes` samples at a time in turn, with silence after it.
fn rows(bank: &mut LookaheadBank, x: &[f32], sizes: &[usize]) -> Vec<f32> {
    let mut out = Vec::new();
    let padded: Vec<f32> =
        x.iter().copied().chain(std::iter::repeat_n(0.0, bank.latency_samples())).collect();
    let (mut rest, mut sizes) = (&padded[..], sizes.iter().cycle());
    while !rest.is_empty() {
        let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        let from = out.len();
        out.resize(from + bank.rows_of(now.len()) * 4 * bank.len(), 0.0);
        bank.process(now, &mut out[from..]);
        rest = later;
    }
    out
}

#[test]
fn each_backward_state_is_the_sum_over_its_window() {
    let x = noise(700, 1);
    for n in [1, 7, 16, 19] {
        let p = poles(n);
        for lookahead in [0, 1, 2, 63, 64, 65, 200, 1500] {
            let got = rows(&mut LookaheadBank::new(&p, lookahead, 1, Level::detect()), &x, &[x.len()]);
            assert_eq!(got.len(), x.len() * 4 * n);
            let mut forward = vec![0.0; x.len() * 2 * n];
            OscillatorBank::new(&p, Level::detect()).record(&x, 1, 0, &mut forward);
            let mut worst = 0f64;
            for (t, row) in got.chunks(4 * n).enumerate() {
                assert_eq!(row[..2 * n], forward[t * 2 * n..][..2 * n], "the forward half is the bank's");
                for (k, pole) in p.iter().enumerate() {
                    let mut sum = Complex::ZERO;
                    let window = &x[t..(t + lookahead + 1).min(x.len())];
                    for &x in window.iter().rev() {
                        sum = sum * pole.lambda() + pole.unit_drive() * f64::from(x);
                    }
                    let error = Complex::new(f64::from(row[2 * n + k]), f64::from(row[3 * n + k])) - sum;
                    worst = worst.max(error.norm());
                }
            }
            assert!(worst < 2e-6, "{n} oscillators, look-ahead {lookahead}: {worst:e}");
        }
    }
}

#[test]
fn blocks_hops_and_reset_do_not_change_a_bit() {
    let x = noise(2000, 2);
    let p = poles(20);
    for lookahead in [0, 5, 100, 777] {
        for hop in [1, 3, 64, 500] {
            let mut bank = LookaheadBank::new(&p, lookahead, hop, Level::detect());
            let whole = rows(&mut bank, &x, &[x.len()]);
            assert_eq!(whole.len(), x.len().div_ceil(hop) * 80);
            for sizes in [&[1][..], &[63], &[64], &[65], &[7, 300, 1, 64], &[5000]] {
                bank.reset();
                let parts = rows(&mut bank, &x, sizes);
                assert!(
                    whole.iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{lookahead} {hop}"
                );
            }
            let every = rows(&mut LookaheadBank::new(&p, lookahead, 1, Level::detect()), &x, &[100]);
            assert!(whole.chunks(80).zip(every.chunks(80).step_by(hop)).all(|(a, b)| a == b));
        }
    }
}

#[test]
fn fused_and_plain_agree() {
    let (x, p) = (noise(5000, 3), poles(64));
    let a = rows(&mut LookaheadBank::new(&p, 480, 1, Level::Plain), &x, &[512]);
    let b = rows(&mut LookaheadBank::new(&p, 480, 1, Level::detect()), &x, &[512]);
    let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 2e-6, "{worst:e}");
}

#[test]
fn a_minute_does_not_wear_the_sums_out() {
    // After many blocks the newest windows are as exact as the first.
    let p = poles(16);
    let mut bank = LookaheadBank::new(&p, 240, 1, Level::detect());
    let mut rng = Rng(4);
    let mut out = vec![0.0; 24_000 * 64];
    for _ in 0..60 {
        let x: Vec<f32> = (0..24_000).map(|_| rng.uniform()).collect();
        let rows = bank.rows_of(x.len()) * 64;
        bank.process(&x, &mut out[..rows]);
    }
    let x = noise(500, 5);
    let old = bank.rows_of(240) * 64;
    bank.process(&[0.0; 240], &mut out[..old]); // pushes the noise out of the windows
    let from = 0;
    bank.process(&x, &mut out[from..bank.rows_of(x.len()) * 64]);
    let mut fresh = LookaheadBank::new(&p, 240, 1, Level::detect());
    let wanted = rows(&mut fresh, &x, &[x.len()]);
    for t in 0..500 - 240 {
        // The first 240 rows belong to the silence; the bank still rings forward from the noise.
        let (got, wanted) = (&out[(t + 240) * 64 + 32..][..32], &wanted[t * 64 + 32..][..32]);
        let worst = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-6, "row {t}: {worst:e}");
    }
}

#[test]
fn processing_allocates_nothing() {
    let x = noise(3000, 6);
    let mut bank = LookaheadBank::new(&poles(24), 300, 2, Level::detect());
    let mut out = vec![0.0; 3000 * 96];
    for _ in 0..3 {
        let rows = bank.rows_of(x.len()) * 96;
        assert_eq!(allocations(|| bank.process(&x, &mut out[..rows])), 0);
    }
    assert_eq!(allocations(|| bank.reset()), 0);
}
