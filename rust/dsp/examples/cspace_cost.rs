//! Prints what the CSpace bank costs, in ns per oscillator and sample (best of several runs).
//!
//! `cargo run --release -p cspace-dsp --example cspace_cost`

use cspace_dsp::cspace::bank::{Complex, OscillatorBank, Pole};
use cspace_dsp::cspace::{CSpace, INFO};
use cspace_dsp::simd::Level;
use cspace_dsp::{Block, Prepare, Processor};
use std::time::Instant;

/// Best time of `f` in ns per oscillator-sample, for blocks of 64 frames.
fn best(n: usize, mut f: impl FnMut(&mut [f32])) -> f64 {
    let mut block = [0.0f32; 64];
    let rounds = 400_000 / n + 1;
    (0..20)
        .map(|run| {
            let start = Instant::now();
            for i in 0..rounds {
                block
                    .iter_mut()
                    .enumerate()
                    .for_each(|(j, x)| *x = ((i * 64 + j * j + run) % 97) as f32 * 0.01 - 0.5);
                f(&mut block);
                std::hint::black_box(&mut block);
            }
            start.elapsed().as_nanos() as f64 / (rounds * 64 * n) as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("{:>6} {:>12} {:>9} {:>13}", "N", "level", "analysis", "resynthesis");
    for n in [8, 64, 256, 1024] {
        let poles: Vec<Pole> = (0..n)
            .map(|k| Pole::from_q(40.0 * 400f64.powf(k as f64 / (n - 1) as f64), 8.0, 48_000.0))
            .collect();
        for (name, level) in [("plain", Level::Plain), ("detected", Level::detect())] {
            let mut bank = OscillatorBank::new(&poles, level);
            bank.set_weights(&vec![Complex { re: 1.0, im: 0.5 }; n]);
            let analysis = best(n, |x| bank.advance(x));
            let mut out = [0.0; 64];
            let resynthesis = best(n, |x| {
                bank.resynthesise(x, &mut out);
                std::hint::black_box(&mut out);
            });
            println!("{n:>6} {name:>12} {analysis:>9.3} {resynthesis:>13.3}");
        }
    }

    println!();
    println!(
        "{:>6} {:>9} {:>9} {:>9} {:>9} {:>9}   whole processor, 1 channel",
        "N", "neutral", "gains", "blur", "shift", "moving"
    );
    for n in [64, 256, 1024] {
        let cost = |set: &[(&str, f32)], moving: bool| {
            let mut p = CSpace::new();
            let id = |name: &str| INFO.param_id(name).expect("a parameter");
            p.set_param(id("oscillators"), n as f32);
            set.iter().for_each(|(name, v)| p.set_param(id(name), *v));
            p.prepare(&Prepare { sample_rate: 48_000.0, max_block: 64, channels: 1 }).expect("prepared");
            let mut round = 0.0;
            best(n, |x| {
                if moving {
                    round = 1.0 - round;
                    for name in ["blur", "focus_gain_db", "shift_hz"] {
                        p.set_param(id(name), 10.0 + round);
                    }
                }
                p.process(&mut Block::new(x, 64, 64));
            })
        };
        println!(
            "{n:>6} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}",
            cost(&[], false),
            cost(&[("focus_gain_db", 6.0)], false),
            cost(&[("blur", 4.0), ("focus_gain_db", 6.0)], false),
            cost(&[("blur", 4.0), ("focus_gain_db", 6.0), ("shift_hz", 100.0)], false),
            cost(&[], true),
        );
    }
}
