//! Price of `kuramoto` in ns per oscillator-sample: `cargo run --release --example kuramoto_cost`.
//! Each figure is the best of several runs of blocks of 64, coupled, two channels.

use cspace_dsp::{Block, Prepare, registry};
use std::time::Instant;

fn cost(oscillators: usize, harmonics: f32, mode: f32, edges: &[f32]) -> f64 {
    let mut p = registry::create("kuramoto").unwrap();
    let id = |name| registry::create("kuramoto").unwrap().info().param_id(name).unwrap();
    for (name, value) in [
        ("oscillators", oscillators as f32),
        ("spread", 1.0),
        ("harmonics", harmonics),
        ("mode", mode),
        ("coupling_hz", 20.0),
    ] {
        p.set_param(id(name), value);
    }
    if !edges.is_empty() {
        assert!(p.set_array(p.info().array_id("edges").unwrap(), edges));
    }
    p.prepare(&Prepare { sample_rate: 48_000.0, max_block: 64, channels: 2 }).unwrap();
    let mut data = [0.0f32; 128];
    let blocks = (1_000_000 / (oscillators * 64)).max(4);
    let mut best = f64::INFINITY;
    for round in 0..12 {
        let start = Instant::now();
        for b in 0..blocks {
            data.iter_mut().enumerate().for_each(|(i, x)| *x = 0.1 * ((i + b) as f32 * 0.1).sin());
            p.process(&mut Block::new(&mut data, 64, 64));
        }
        let ns = start.elapsed().as_nanos() as f64 / (blocks * 64 * oscillators) as f64;
        if round > 0 {
            best = best.min(ns);
        }
    }
    best
}

fn main() {
    println!("{:>6} {:>10} {:>10} {:>10}   ns per oscillator-sample", "N", "harmonics", "free", "entrained");
    for n in [64, 256, 1024, 4096] {
        for harmonics in [1.0, 4.0] {
            println!(
                "{n:>6} {harmonics:>10} {:>10.3} {:>10.3}",
                cost(n, harmonics, 0.0, &[]),
                cost(n, harmonics, 1.0, &[])
            );
        }
    }
    println!("{:>6} {:>10}   with edges: ns per edge and sample", "N", "edges");
    for (n, per_row) in [(64, 4), (64, 64), (512, 8), (512, 512)] {
        let to = |i: usize, k: usize| [i as f32, ((i + 1 + k) % n) as f32, 1.0 / per_row as f32];
        let edges: Vec<f32> = (0..n * per_row).flat_map(|e| to(e / per_row, e % per_row)).collect();
        let extra = cost(n, 1.0, 0.0, &edges) - cost(n, 1.0, 0.0, &[]);
        println!("{n:>6} {:>10} {:>10.3}", n * per_row, extra / per_row as f64);
    }
}
