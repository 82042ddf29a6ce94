//! Small models for the tests of hosted models, and ways to play through them in step with their workers.

use super::{RATE, run};
use cspace_dsp::{Processor, StateError, StateIo};
use cspace_engine::hosted::{HopModel, Hosted, HostedSpec, ModelParameter, info};
use cspace_engine::{Controller, Driver};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

pub const HOP: usize = 64;

/// A one-pole filter with a parameter for its level, per channel; stands still while `stalled`.
pub struct Pole {
    channels: usize,
    last: Vec<f32>,
    stalled: Arc<AtomicBool>,
}

impl HopModel for Pole {
    fn run(&mut self, input: &[f32], output: &mut [f32], parameters: &[f32]) -> Result<(), String> {
        while self.stalled.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let hop = input.len() / self.channels;
        for (i, (y, x)) in output.iter_mut().zip(input).enumerate() {
            let last = &mut self.last[i / hop];
            *last = parameters[0] * x + 0.5 * *last;
            *y = *last;
        }
        Ok(())
    }
    fn reset(&mut self) {
        self.last.fill(0.0);
    }
    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.last)
    }
}

/// Passes its input times a number.
pub struct Scale(f32);

impl HopModel for Scale {
    fn run(&mut self, input: &[f32], output: &mut [f32], _parameters: &[f32]) -> Result<(), String> {
        output.iter_mut().zip(input).for_each(|(y, x)| *y = self.0 * x);
        if self.0 == 0.0 { Err("a model that fails".into()) } else { Ok(()) }
    }
    fn reset(&mut self) {}
    fn state(&mut self, _io: &mut StateIo<'_>) -> Result<(), StateError> {
        Ok(())
    }
}

pub static LEVEL: LazyLock<ModelParameter> = LazyLock::new(|| ModelParameter {
    name: "level".into(),
    unit: String::new(),
    min: 0.0,
    max: 4.0,
    default: 1.0,
    smooth_ms: 20.0,
    doc: "Level.".into(),
});

pub fn pole(hop: usize, channels: usize, stalled: &Arc<AtomicBool>) -> Arc<HostedSpec> {
    let stalled = stalled.clone();
    Arc::new(HostedSpec {
        info: info("pole", "A test model.", std::slice::from_ref(&*LEVEL)),
        sample_rate: RATE,
        hop,
        channels,
        latency: 0,
        tail: 100,
        load: Box::new(move || {
            Ok(Box::new(Pole { channels, last: vec![0.0; channels], stalled: stalled.clone() }))
        }),
    })
}

pub fn scale(factor: f32, hop: usize, own_latency: usize) -> Arc<HostedSpec> {
    Arc::new(HostedSpec {
        info: info("scale", "A test model.", &[]),
        sample_rate: RATE,
        hop,
        channels: 1,
        latency: own_latency,
        tail: 0,
        load: Box::new(move || Ok(Box::new(Scale(factor)))),
    })
}

pub fn hosted(spec: &Arc<HostedSpec>, live: bool, spare_ms: f32) -> Box<Hosted> {
    let mut h = Hosted::new(spec.clone(), live);
    let id = h.info().param_id("spare_ms").unwrap();
    h.set_param(id, spare_ms);
    Box::new(h)
}

/// Waits until the worker of slot 0 has run so many hops.
pub fn settle(control: &mut Controller, hops: usize) {
    let started = Instant::now();
    while control.stats().slots[0].hops < hops as u64 {
        assert!(started.elapsed() < Duration::from_secs(20), "the worker stands still");
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Plays stereo, in step with the worker: after each block all hops so far are done.
pub fn play(driver: &mut Driver, control: &mut Controller, x: &[f32], block: usize, hop: usize) -> Vec<f32> {
    let frames = x.len() / 2;
    let mut out = x.to_vec();
    let before = control.stats();
    let (done, start) = (before.slots[0].hops as usize * hop, before.sample_time as usize);
    assert_eq!(done / hop, start / hop, "one run per hop so far");
    for from in (0..frames).step_by(block) {
        let n = block.min(frames - from);
        let mut part = [&x[from..from + n], &x[frames + from..][..n]].concat();
        driver.process(&mut part, n);
        out[from..from + n].copy_from_slice(&part[..n]);
        out[frames + from..][..n].copy_from_slice(&part[n..]);
        settle(control, (start + from + n) / hop);
    }
    out
}

pub fn ready() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}

/// What the pole gives for a channel of input.
pub fn filtered(x: &[f32]) -> Vec<f32> {
    let mut last = 0.0;
    x.iter()
        .map(|v| {
            last = v + 0.5 * last;
            last
        })
        .collect()
}

/// Plays stereo in blocks of 64; after each, waits until the newest model of slot 0 has run `newest`
/// hops and those before it `older`.
pub fn in_step(
    driver: &mut Driver,
    control: &mut Controller,
    x: &[f32],
    newest: impl Fn(usize) -> usize,
    older: impl Fn(usize) -> usize,
) -> Vec<f32> {
    let frames = x.len() / 2;
    let mut out = Vec::new();
    let start = control.stats().sample_time as usize;
    for from in (0..frames).step_by(64) {
        let y = run(driver, &[&x[from..from + 64], &x[frames + from..][..64]].concat(), 64);
        out.extend_from_slice(&y[..64]);
        let (t, started) = (start + from + 64, Instant::now());
        loop {
            let slot = control.stats().slots.remove(0);
            let others = slot.hops.saturating_sub(slot.hop_time.count);
            if slot.hop_time.count >= newest(t) as u64 && others >= older(t) as u64 {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "a worker stands still");
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    out
}
