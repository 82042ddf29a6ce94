//! Slots served by another thread: exact latency for any block and hop, concealment when late.

mod common;
use common::{engine, run, sine};
use cspace_engine::WorkerEnd;
use std::time::Duration;

/// Serves everything that waits, on this thread.
fn serve(end: &mut WorkerEnd, gain: f32) -> usize {
    let mut hop = vec![0.0; end.hop() * end.channels()];
    let mut served = 0;
    while end.pull(&mut hop, Duration::ZERO) {
        hop.iter_mut().for_each(|x| *x *= gain);
        assert!(end.push(&hop));
        served += 1;
    }
    served
}

#[test]
fn latency_is_exact_for_every_block_and_hop() {
    for block in [1, 32, 64, 100, 128] {
        for hop in [1, 64, 100, 256, 480] {
            for extra in [0, 7, 512] {
                let latency = hop + 128 + extra;
                let (mut driver, mut control) = engine(2, 128);
                let (id, mut end) = control.insert_worker(0, hop, latency, 0, "w").unwrap();
                assert_eq!(control.slot(id).unwrap().latency_samples, latency);
                let mut out = Vec::new();
                let mut impulse = Some(0.5);
                while out.len() < latency + 200 {
                    let mut x = vec![0.0; 2 * block];
                    x[0] = impulse.take().unwrap_or(0.0);
                    driver.process(&mut x, block);
                    out.extend_from_slice(&x[..block]);
                    serve(&mut end, 2.0);
                }
                assert_eq!(out.iter().position(|&v| v == 1.0), Some(latency), "block {block}, hop {hop}");
                assert_eq!(out.iter().filter(|&&v| v != 0.0).count(), 1);
                assert_eq!(control.stats().slots[0].late_blocks, 0);
            }
        }
    }
}

#[test]
fn too_short_a_latency_is_refused() {
    let (_driver, mut control) = engine(2, 128);
    let error = control.insert_worker(0, 64, 191, 0, "w").map(drop).unwrap_err();
    assert!(error.to_string().contains("at least 192"), "{error}");
}

#[test]
fn a_stalled_worker_is_concealed_counted_and_keeps_its_latency() {
    let (mut driver, mut control) = engine(2, 64);
    let latency = 256;
    let (_, mut end) = control.insert_worker(0, 64, latency, 0, "w").unwrap();
    let frames = 64 * 300;
    let x = sine(frames);
    let mut out = Vec::new();
    for (i, from) in (0..frames).step_by(64).enumerate() {
        let mut part = [&x[from..from + 64], &x[frames + from..][..64]].concat();
        driver.process(&mut part, 64);
        out.extend_from_slice(&part[..64]);
        if !(100..150).contains(&i) {
            serve(&mut end, 0.5);
        }
    }
    let late = control.stats().slots[0].late_blocks;
    assert!((46..=50).contains(&late), "{late} late blocks");
    // Dry while late, wet again afterwards, with the same delay, and no jump on the way.
    let wet = |i: usize| 0.5 * x[i - latency];
    let dry = |i: usize| x[i - latency];
    assert!((6000..6100).all(|i| out[i] == wet(i)));
    assert!((8000..8100).all(|i| (out[i] - dry(i)).abs() < 1e-6));
    assert!((15_000..19_000).all(|i| out[i] == wet(i)), "latency changed after the stall");
    let step = out.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
    assert!(step < 0.012, "concealment jumps by {step}");
}

#[test]
fn a_worker_that_was_gone_for_long_is_taken_back() {
    let (mut driver, mut control) = engine(2, 64);
    let (_, mut end) = control.insert_worker(0, 64, 256, 0, "w").unwrap();
    run(&mut driver, &vec![0.1; 2 * 48_000 * 5], 64); // nobody serves for 5 s: the ring overflows
    // A worker that comes back at a multiple of real time catches up.
    for _ in 0..3000 {
        run(&mut driver, &vec![0.25; 128], 64);
        serve(&mut end, 2.0);
    }
    let y = run(&mut driver, &vec![0.25; 128], 64);
    assert_eq!(y, vec![0.5; 128]);
    drop(driver);
    drop(control);
    assert!(end.is_closed());
}
