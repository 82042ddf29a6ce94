//! The oscillator bank and the CSpace processor against float64.

mod common;
use common::Rng;
use cspace_dsp::cspace::bank::{Complex, OscillatorBank, Pole};
use cspace_dsp::simd::Level;

const RATE: f64 = 48_000.0;

fn poles(n: usize, q: f64) -> Vec<Pole> {
    let f = |k: usize| 40.0 * 400f64.powf(k as f64 / (n.max(2) - 1) as f64);
    (0..n).map(|k| Pole::from_q(f(k), q, RATE)).collect()
}

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| rng.uniform()).collect()
}

fn read(bank: &OscillatorBank) -> Vec<f32> {
    let mut out = vec![0.0; 2 * bank.len()];
    bank.read(&mut out);
    out
}

#[test]
fn bank_gives_the_same_bits_for_any_blocks() {
    let x = noise(3000, 1);
    for n in [1, 7, 40, 64, 100] {
        let make = || {
            let mut b = OscillatorBank::new(&poles(n, 8.0), Level::detect());
            b.set_weights(&vec![Complex { re: 0.7, im: -0.3 }; n]);
            b
        };
        let (mut whole, mut a) = (vec![0.0; x.len()], make());
        a.resynthesise(&x, &mut whole);
        for size in [1, 63, 64, 65, 500] {
            let (mut out, mut b) = (vec![0.0; x.len()], make());
            x.chunks(size).zip(out.chunks_mut(size)).for_each(|(x, o)| b.resynthesise(x, o));
            assert!(whole.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()), "{n}, {size}");
            assert_eq!(read(&a), read(&b));
        }
        let mut c = make();
        c.advance(&x);
        assert_eq!(read(&a), read(&c), "analysis alone");
    }
}

#[test]
fn fused_and_plain_agree() {
    let x = noise(20_000, 2);
    let p = poles(64, 8.0);
    let (mut a, mut b) = (OscillatorBank::new(&p, Level::Plain), OscillatorBank::new(&p, Level::detect()));
    a.advance(&x);
    b.advance(&x);
    let (a, b) = (read(&a), read(&b));
    let norm = a.iter().map(|v| v * v).sum::<f32>().sqrt();
    let diff = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
    assert!(diff / norm < 1e-5, "{}", diff / norm);
}
