//! Shared by the tests of this folder: test signals, a block-wise runner, a counting allocator.
#![allow(dead_code, unused_imports)]

use cspace_dsp::{Block, Info, Prepare, Processor, Scale, registry};
mod alloc;
pub use alloc::allocations;

/// A small repeatable generator for test signals and block sizes.
pub struct Rng(pub u64);
impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// Uniform in [-1, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Tones, noise, a click and a silence: planar, `channels` × `frames`.
pub fn signal(channels: usize, frames: usize, sample_rate: f64) -> Vec<f32> {
    let mut out = Vec::with_capacity(channels * frames);
    for c in 0..channels {
        let mut rng = Rng(7 + c as u64);
        for i in 0..frames {
            let t = i as f64 / sample_rate;
            let tone = (t * 220.0 * std::f64::consts::TAU).sin() + (t * 1111.0 * std::f64::consts::TAU).sin();
            let x = 0.2 * tone as f32 + 0.1 * rng.uniform();
            let quiet = i % 1000 > 900;
            out.push(if quiet { 0.0 } else { x } + if i % 777 == 5 { 0.4 } else { 0.0 });
        }
    }
    out
}

/// Runs planar audio through in blocks whose sizes `size` gives; returns planar output.
pub fn run(
    p: &mut dyn Processor,
    audio: &[f32],
    channels: usize,
    mut size: impl FnMut(usize) -> usize,
) -> Vec<f32> {
    let frames = audio.len() / channels;
    let mut out = audio.to_vec();
    let mut block = Vec::new();
    let mut at = 0;
    while at < frames {
        let n = size(at).min(frames - at);
        block.clear();
        for c in 0..channels {
            block.extend_from_slice(&out[c * frames + at..][..n]);
        }
        p.process(&mut Block::new(&mut block, n, n));
        for c in 0..channels {
            out[c * frames + at..][..n].copy_from_slice(&block[c * n..][..n]);
        }
        at += n;
    }
    out
}

/// A processor with some set-up: a name for messages and the parameters that differ from default.
#[derive(Clone, Debug)]
pub struct Case {
    pub info: &'static Info,
    pub set: Vec<(usize, f32)>,
}

impl Case {
    pub fn name(&self) -> String {
        let set: Vec<_> =
            self.set.iter().map(|(id, v)| format!("{}={v}", self.info.params[*id].name)).collect();
        format!("{}[{}]", self.info.name, set.join(","))
    }

    pub fn make(&self, spec: &Prepare) -> Box<dyn Processor> {
        let mut p = registry::create(self.info.name).expect("registered");
        for &(id, v) in &self.set {
            p.set_param(id, v);
        }
        p.prepare(spec).unwrap_or_else(|e| panic!("{}: {e}", self.name()));
        p
    }
}

/// Every registered processor: at its defaults, then once with each value of each choice or
/// switch, with every continuous live parameter moved off its default so that nothing is neutral.
pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for info in registry::all() {
        out.push(Case { info, set: vec![] });
        let moved: Vec<(usize, f32)> = info
            .params
            .iter()
            .enumerate()
            .filter(|(_, p)| !p.setup && matches!(p.scale, Scale::Linear | Scale::Log))
            .map(|(id, p)| {
                (
                    id,
                    p.clamp(
                        p.default
                            + 0.23
                                * (if p.default < 0.5 * (p.min + p.max) {
                                    p.max - p.default
                                } else {
                                    p.min - p.default
                                }),
                    ),
                )
            })
            .collect();
        out.push(Case { info, set: moved.clone() });
        for (id, p) in info.params.iter().enumerate() {
            if matches!(p.scale, Scale::Choice(_) | Scale::Toggle) {
                for v in 0..=p.max as usize {
                    if v as f32 != p.default {
                        let mut set = moved.clone();
                        set.push((id, v as f32));
                        out.push(Case { info, set });
                    }
                }
            }
        }
    }
    out
}
