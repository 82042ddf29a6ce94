//! Shared by the engine's tests: a counting allocator and processors that misbehave on purpose.
#![allow(dead_code, unused_imports)]

#[path = "../../../dsp/tests/common/alloc.rs"]
mod alloc;
pub use alloc::allocations;
pub mod model;

use cspace_dsp::{Block, Info, ParamSpec, Prepare, PrepareError, Processor, StateError, StateIo, TapSpec};
use cspace_engine::{Config, Controller, Driver};

pub const RATE: f64 = 48_000.0;

pub fn engine(channels: usize, max_block: usize) -> (Driver, Controller) {
    cspace_engine::new(Config { sample_rate: RATE, channels, max_block }).unwrap()
}

static PARAMS: [ParamSpec; 1] = [ParamSpec::new("value", "", (-10.0, 10.0), 0.0).smooth_ms(0.0).doc("x")];
static TAPS: [TapSpec; 1] = [TapSpec { name: "seen", doc: "samples processed, and 1" }];
static INFO: Info =
    Info { name: "fake", doc: "A test processor.", params: &PARAMS, taps: &TAPS, arrays: &[] };

/// What a [`Fake`] does to its input.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Adds its parameter, at once.
    Add,
    /// Multiplies.
    Scale(f32),
    /// A pure delay.
    Delay(usize),
    /// Writes NaN at this sample since its last reset.
    NanAt(usize),
    /// Panics at this sample.
    PanicAt(usize),
}

pub struct Fake {
    pub kind: Kind,
    value: f32,
    seen: usize,
    line: Vec<Vec<f32>>,
}

impl Fake {
    pub fn boxed(kind: Kind) -> Box<dyn Processor> {
        let mut f = Self { kind, value: 0.0, seen: 0, line: Vec::new() };
        f.prepare(&Prepare { sample_rate: RATE, max_block: 1 << 16, channels: 2 }).unwrap();
        Box::new(f)
    }
}

impl Processor for Fake {
    fn info(&self) -> &'static Info {
        &INFO
    }
    fn prepare(&mut self, spec: &Prepare) -> Result<(), PrepareError> {
        self.line = vec![vec![0.0; self.latency_samples()]; spec.channels];
        Ok(())
    }
    fn latency_samples(&self) -> usize {
        if let Kind::Delay(n) = self.kind { n } else { 0 }
    }
    fn set_param(&mut self, id: usize, value: f32) {
        if id == 0 {
            self.value = value;
        }
    }
    fn param(&self, _id: usize) -> f32 {
        self.value
    }
    fn tap_len(&self, _id: usize) -> usize {
        2
    }
    fn read_tap(&self, _id: usize, out: &mut [f32]) {
        out.copy_from_slice(&[self.seen as f32, 1.0]);
    }
    fn state(&mut self, _io: &mut StateIo<'_>) -> Result<(), StateError> {
        Ok(())
    }
    fn reset(&mut self) {
        self.seen = 0;
    }
    fn process(&mut self, block: &mut Block<'_>) {
        let (kind, value, seen) = (self.kind, self.value, self.seen);
        for (channel, line) in block.channels_mut().zip(&mut self.line) {
            for (i, x) in channel.iter_mut().enumerate() {
                match kind {
                    Kind::Add => *x += value,
                    Kind::Scale(g) => *x *= g,
                    Kind::Delay(n) => std::mem::swap(x, &mut line[(seen + i) % n]),
                    Kind::NanAt(n) if seen + i == n => *x = f32::NAN,
                    Kind::PanicAt(n) if seen + i == n => panic!("a test processor panics"),
                    _ => {}
                }
            }
        }
        self.seen += block.frames();
    }
}

/// Runs `frames` of planar stereo through in blocks of `size`.
pub fn run(driver: &mut Driver, audio: &[f32], size: usize) -> Vec<f32> {
    let frames = audio.len() / 2;
    let mut out = audio.to_vec();
    for from in (0..frames).step_by(size) {
        let n = size.min(frames - from);
        let mut part = [&audio[from..from + n], &audio[frames + from..][..n]].concat();
        driver.process(&mut part, n);
        out[from..from + n].copy_from_slice(&part[..n]);
        out[frames + from..][..n].copy_from_slice(&part[n..]);
    }
    out
}

/// A quiet sine in both channels: smooth, so that any click stands out.
pub fn sine(frames: usize) -> Vec<f32> {
    let one = (0..frames).map(|i| 0.5 * (i as f32 * 0.01).sin());
    one.clone().chain(one).collect()
}

/// The largest step between neighbouring samples of the first channel.
pub fn largest_step(audio: &[f32]) -> f32 {
    audio[..audio.len() / 2].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
}
