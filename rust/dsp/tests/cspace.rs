//! The oscillator bank and the CSpace processor against float64.
//!
//! Tolerances: 1e-5 is what is promised. A float32 recursion rounds by 2⁻²⁴ a step and forgets at its own pace;
//! with and without fused products it rounds otherwise, and both keep to it. The tests print what they find.

mod common;
use common::Rng;
use cspace_dsp::cspace::bank::{Complex, OscillatorBank, Pole};
use cspace_dsp::cspace::design;
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

/// z = λ z + b x in float64, λ and b unrounded; also the mean |z|² of each oscillator.
struct Reference {
    lambda: Vec<Complex>,
    drive: Vec<f64>,
    re: Vec<f64>,
    im: Vec<f64>,
    power: Vec<f64>,
    samples: f64,
}

impl Reference {
    fn new(poles: &[Pole]) -> Self {
        let zero = vec![0.0; poles.len()];
        Self {
            lambda: poles.iter().map(Pole::lambda).collect(),
            drive: poles.iter().map(Pole::unit_drive).collect(),
            re: zero.clone(),
            im: zero.clone(),
            power: zero,
            samples: 0.0,
        }
    }

    fn advance(&mut self, x: &[f32]) {
        for &x in x {
            for k in 0..self.re.len() {
                let (l, re, im) = (self.lambda[k], self.re[k], self.im[k]);
                self.re[k] = l.re * re - l.im * im + self.drive[k] * f64::from(x);
                self.im[k] = l.re * im + l.im * re;
            }
        }
        for k in 0..self.re.len() {
            self.power[k] += self.re[k] * self.re[k] + self.im[k] * self.im[k];
        }
        self.samples += 1.0;
    }

    /// |z − z64| over the norm of z64, all oscillators together; and the worst single oscillator,
    /// against its own rms over the run.
    fn error(&self, bank: &OscillatorBank) -> (f64, f64) {
        let z = read(bank);
        let n = self.re.len();
        let (mut diff, mut norm, mut worst) = (0.0, 0.0, 0.0f64);
        for k in 0..n {
            let d = (f64::from(z[k]) - self.re[k]).powi(2) + (f64::from(z[n + k]) - self.im[k]).powi(2);
            diff += d;
            norm += self.re[k].powi(2) + self.im[k].powi(2);
            worst = worst.max((d / (self.power[k] / self.samples)).sqrt());
        }
        ((diff / norm).sqrt(), worst)
    }
}

/// Noise and three tones, one of them low.
fn music(rng: &mut Rng, start: usize, x: &mut [f32]) {
    for (i, x) in x.iter_mut().enumerate() {
        let t = (start + i) as f64 / RATE;
        let tone = |hz: f64| (std::f64::consts::TAU * (hz * t).fract()).sin();
        *x = (0.2 * tone(43.7) + 0.2 * tone(440.0) + 0.1 * tone(7000.0)) as f32 + 0.2 * rng.uniform();
    }
}

#[test]
fn ten_minutes_stay_within_1e_5_of_float64() {
    let p = poles(64, 8.0);
    let (mut bank, mut reference) = (OscillatorBank::new(&p, Level::detect()), Reference::new(&p));
    let (mut rng, mut x, mut at) = (Rng(9), [0.0; 4096], 0);
    while at < 600 * RATE as usize {
        music(&mut rng, at, &mut x);
        bank.advance(&x);
        reference.advance(&x);
        at += x.len();
    }
    let (whole, worst) = reference.error(&bank);
    println!("after 10 minutes: {whole:.2e} of the state vector, worst oscillator {worst:.2e}");
    assert!(whole <= 1e-5 && worst <= 1e-5, "{whole:e} {worst:e}");
}

#[test]
fn low_and_narrow_banks_keep_their_place() {
    // 10 Hz at 192 kHz is where a plain float32 pole fails; high Q multiplies the rounding of μ.
    for (low, q, rate, bound) in [
        (10.0, 8.0, 48e3, 1e-5),
        (10.0, 8.0, 192e3, 1e-5),
        (10.0, 30.0, 48e3, 1e-5),
        (40.0, 100.0, 48e3, 1e-5),
    ] {
        let hz = design::log_spaced(64, low, 16e3);
        let p = design::constant_q(&hz, q, rate);
        let (mut bank, mut reference) = (OscillatorBank::new(&p, Level::detect()), Reference::new(&p));
        let (mut rng, mut x) = (Rng(3), [0.0; 4096]);
        for block in 0..(20.0 * rate / 4096.0) as usize {
            music(&mut rng, block * 4096, &mut x);
            bank.advance(&x);
            reference.advance(&x);
        }
        let (whole, worst) = reference.error(&bank);
        println!("{low} Hz, Q {q}, {rate} Hz: {whole:.2e}, worst oscillator {worst:.2e}");
        assert!(whole <= bound && worst <= bound, "{low} Hz, Q {q}: {whole:e} {worst:e}");
    }
}

#[test]
fn equals_direct_convolution() {
    let p = poles(64, 8.0);
    let x = noise(48_000, 4);
    let mut bank = OscillatorBank::new(&p, Level::detect());
    let mut at = 0;
    for end in [1, 100, 4_801, 48_000] {
        bank.advance(&x[at..end]);
        at = end;
        let z = read(&bank);
        let (mut diff, mut norm) = (0.0, 0.0);
        for (k, p) in p.iter().enumerate() {
            // Σ b |λ|^m e^{j m angle} x[n − m], nothing cut off.
            let want: Complex = x[..end]
                .iter()
                .rev()
                .enumerate()
                .map(|(m, &x)| {
                    let m = m as f64;
                    Complex::from_polar(p.unit_drive() * (-p.decay * m).exp() * f64::from(x), p.angle * m)
                })
                .sum();
            diff += (Complex::new(f64::from(z[k]), f64::from(z[64 + k])) - want).norm_sqr();
            norm += want.norm_sqr();
        }
        let error = (diff / norm).sqrt();
        println!("after {end} samples: {error:.2e}");
        assert!(error <= 1e-5, "after {end}: {error:e}");
    }
}
