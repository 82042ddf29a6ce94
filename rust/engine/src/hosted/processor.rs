//! The processor around a model: collects hops, plays results at their samples, mixes with the input.

use cspace_dsp::{Block, Info, ParamSpec, Prepare, PrepareError, Processor, Smoothed, StateError, StateIo};
use std::any::Any;
use std::sync::Arc;

use super::bench::Bench;
use super::conceal::Conceal;
use super::line::Line;
use super::load;
use super::report::WorkerShared;
use super::spec::{BASE, CONCEAL, DROP_RATE, DROP_SEED, DRY, HostedSpec, SPARE_MS, WET};
use crate::delay::Delay;
use crate::shared::count;

/// Hosts one model; see the module.
pub struct Hosted {
    spec: Arc<HostedSpec>,
    live: bool,
    values: Vec<f32>,
    shared: Arc<WorkerShared>,
    stream: Option<Stream>,
}

/// All that `prepare` makes.
struct Stream {
    line: Line,
    channels: usize,
    rate: f64,
    hop: usize,
    /// From a sample going in to its hop being played; the model's own delay comes on top.
    buffering: usize,
    latency: usize,
    wet: Smoothed,
    own: Vec<Smoothed>,
    own_now: Vec<f32>,
    /// The hop being collected, planar.
    collected: Vec<f32>,
    /// The hop being played, planar.
    played: Vec<f32>,
    here: bool,
    dropped: bool,
    /// Samples since the last reset.
    now: u64,
    /// Hops sent, ever.
    number: u64,
    /// Hops sent before the last reset.
    first: u64,
    fresh: bool,
    /// Whether each hop under way is to be dropped, by its number.
    drops: Vec<bool>,
    counts: [u64; 3],
    dry: Delay,
    dry_block: Vec<f32>,
    sound: Vec<f32>,
    stride: usize,
    conceal: Conceal,
}

/// A number in [0, 1) for each hop of each seed (splitmix64, Steele et al. 2014).
fn chance(seed: u64, hop: u64) -> f32 {
    let mut z = (seed << 40 ^ hop).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd134_2543_de82_ef95);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
}

// ---- control ---------------------------------------------------------------------------------

impl Hosted {
    /// `live`: a device drives the engine, so the model gets a thread of its own. Thread: control.
    pub fn new(spec: Arc<HostedSpec>, live: bool) -> Self {
        let values = spec.info.params.iter().map(|p| p.default).collect();
        Self { spec, live, values, shared: Arc::default(), stream: None }
    }

    fn spec_of(&self, id: usize) -> Option<&'static ParamSpec> {
        self.spec.info.params.get(id)
    }

    fn ramp(&self, id: usize, rate: f64) -> usize {
        (f64::from(self.spec.info.params[id].smooth_ms) * 1e-3 * rate).round() as usize
    }

    fn models(&self, spec: &Prepare) -> Result<Vec<Box<dyn super::HopModel>>, String> {
        let own = &self.spec;
        if (spec.sample_rate - own.sample_rate).abs() > 1e-6 {
            return Err(format!(
                "the model runs at {} Hz and this chain at {} Hz; set sample_rate = {0} in the chain file, or \
                 --sample-rate {0}",
                own.sample_rate, spec.sample_rate
            ));
        }
        if own.channels != 1 && own.channels != spec.channels {
            return Err(format!(
                "the model has {} channels and this chain {}: play {0} channels",
                own.channels, spec.channels
            ));
        }
        load::open(own, spec.channels / own.channels)
    }
}

impl Processor for Hosted {
    fn info(&self) -> &'static Info {
        self.spec.info
    }

    fn prepare(&mut self, spec: &Prepare) -> Result<(), PrepareError> {
        self.stream = None; // its worker ends before another starts
        let models = self.models(spec).map_err(PrepareError)?;
        let (hop, channels, rate) = (self.spec.hop, spec.channels, spec.sample_rate);
        let own: Vec<Smoothed> = self.values[BASE..].iter().map(|&v| Smoothed::new(v)).collect();
        let bench = Bench::new(models, self.spec.clone(), self.shared.clone());
        let spare = (f64::from(self.values[SPARE_MS]) * 1e-3 * rate).round() as usize;
        let buffering = if self.live { super::latency(hop, spec.max_block, spare) } else { hop };
        let latency = buffering + self.spec.latency;
        let size = channels * hop;
        let line = Line::new(bench, hop, own.len(), size, rate, self.live).map_err(PrepareError)?;
        self.stream = Some(Stream {
            line,
            channels,
            rate,
            hop,
            buffering,
            latency,
            wet: Smoothed::new(self.values[WET]),
            own_now: self.values[BASE..].to_vec(),
            own,
            collected: vec![0.0; size],
            played: vec![0.0; size],
            here: false,
            dropped: false,
            now: 0,
            number: 0,
            first: 0,
            fresh: true,
            drops: vec![false; buffering / hop + 2],
            counts: [0; 3],
            dry: Delay::new(channels, latency),
            dry_block: vec![0.0; channels * spec.max_block],
            sound: vec![0.0; channels * spec.max_block],
            stride: spec.max_block,
            conceal: Conceal::new(channels, rate),
        });
        Ok(())
    }

    fn report(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.shared.clone())
    }

    fn latency_samples(&self) -> usize {
        self.stream.as_ref().map_or(0, |s| s.latency)
    }

    fn tail_samples(&self) -> usize {
        self.spec.tail + self.latency_samples()
    }

    fn param(&self, id: usize) -> f32 {
        self.values.get(id).copied().unwrap_or(f32::NAN)
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.values)?;
        let s = self.stream.as_mut().ok_or(StateError::Mismatch)?;
        let Line::Inline { bench, output, .. } = &mut s.line else {
            return Err(StateError::Mismatch); // the worker has it
        };
        bench.models().try_for_each(|m| m.state(io))?;
        io.f32s(output)?;
        s.own.iter_mut().chain([&mut s.wet]).try_for_each(|v| v.state(io))?;
        for buffer in [&mut s.own_now, &mut s.collected, &mut s.played] {
            io.f32s(buffer)?;
        }
        for flag in [&mut s.here, &mut s.dropped, &mut s.fresh].into_iter().chain(&mut s.drops) {
            io.bool(flag)?;
        }
        io.u64(&mut s.now)?;
        io.u64(&mut s.number)?;
        io.u64(&mut s.first)?;
        io.u64s(&mut s.counts)?;
        s.dry.state(io)?;
        s.conceal.state(io)?;
        if let (StateIo::Load(_), Line::Inline { number, .. }) = (io, &mut s.line) {
            *number = s.number.checked_sub(1);
        }
        Ok(())
    }

    fn tap_len(&self, _id: usize) -> usize {
        3
    }

    // ---- audio -------------------------------------------------------------------------------

    fn read_tap(&self, _id: usize, out: &mut [f32]) {
        if let Some(s) = &self.stream {
            out.iter_mut().zip(s.counts).for_each(|(to, n)| *to = n as f32);
        }
    }

    fn set_param(&mut self, id: usize, value: f32) {
        let Some(spec) = self.spec_of(id) else { return };
        let value = spec.clamp(value);
        self.values[id] = value;
        let Some(rate) = self.stream.as_ref().map(|s| s.rate) else { return };
        let ramp = self.ramp(id, rate);
        if let Some(s) = &mut self.stream {
            match id {
                WET => s.wet.set(value, ramp),
                BASE.. => s.own[id - BASE].set(value, ramp),
                _ => {}
            }
        }
    }

    fn reset(&mut self) {
        let Some(s) = &mut self.stream else { return };
        s.now = 0;
        s.first = s.number;
        s.fresh = true;
        (s.here, s.dropped) = (false, false);
        s.collected.fill(0.0);
        s.counts = [0; 3];
        s.dry.reset();
        s.conceal.reset();
        s.wet.snap();
        for (v, now) in s.own.iter_mut().zip(&mut s.own_now) {
            v.snap();
            *now = v.current();
        }
    }

    fn process(&mut self, block: &mut Block<'_>) {
        let Some(s) = &mut self.stream else { return };
        let out_of_use = self.shared.is_out_of_use();
        let knobs = Knobs {
            out_of_use,
            to_dry: out_of_use || self.values[CONCEAL] == DRY,
            drop_rate: self.values[DROP_RATE],
            seed: self.values[DROP_SEED] as u64,
        };
        let (mut from, frames) = (0, block.frames());
        let mut late = false;
        while from < frames {
            let to = frames.min(from + s.until_boundary());
            late |= s.part(&mut block.slice(from, to), &knobs, &self.shared);
            from = to;
        }
        if late {
            count(&self.shared.late_blocks);
        }
    }
}

struct Knobs {
    /// Nothing will come any more: it is no longer called late.
    out_of_use: bool,
    to_dry: bool,
    drop_rate: f32,
    seed: u64,
}

impl Stream {
    /// Samples until a hop is complete or another one is to be played, whichever comes first.
    fn until_boundary(&self) -> usize {
        let hop = self.hop as u64;
        let collect = hop - self.now % hop;
        let buffering = self.buffering as u64;
        let play =
            if self.now < buffering { buffering - self.now } else { hop - (self.now - buffering) % hop };
        collect.min(play) as usize
    }

    /// Processes a part that ends at a boundary at the latest; true if something was late.
    /// Thread: audio. Never allocates, locks or logs.
    fn part(&mut self, block: &mut Block<'_>, knobs: &Knobs, shared: &WorkerShared) -> bool {
        let frames = block.frames();
        let filled = (self.now % self.hop as u64) as usize;
        for c in 0..self.channels {
            let x = block.channel(c);
            self.collected[c * self.hop + filled..][..frames].copy_from_slice(x);
            self.dry_block[c * self.stride..][..frames].copy_from_slice(x);
        }
        self.dry.process(&mut self.dry_block, self.stride, frames);
        let late = self.play(frames, knobs, shared);
        self.mix(block);
        for (ramp, now) in self.own.iter_mut().zip(&mut self.own_now) {
            if ramp.is_moving() {
                (0..frames).for_each(|_| *now = ramp.tick());
            } else {
                *now = ramp.current();
            }
        }
        self.now += frames as u64;
        if filled + frames == self.hop {
            self.send(knobs);
        }
        late
    }

    /// Fills `sound` with the next `frames` samples of the model, or what stands in for them.
    fn play(&mut self, frames: usize, knobs: &Knobs, shared: &WorkerShared) -> bool {
        if self.now < self.buffering as u64 {
            for c in 0..self.channels {
                self.sound[c * self.stride..][..frames].fill(0.0);
            }
            self.conceal.process(&mut self.sound, &self.dry_block, self.stride, frames, true, knobs.to_dry);
            return false;
        }
        let hop = self.hop as u64;
        let since = self.now - self.buffering as u64;
        let at = (since % hop) as usize;
        let number = self.first + since / hop;
        if at == 0 {
            self.dropped = self.drops[(number % self.drops.len() as u64) as usize];
            self.here = self.line.collect(number, &mut self.played);
            self.counts[0] += 1;
            if self.dropped {
                self.counts[2] += 1;
                count(&shared.dropped_hops);
            } else if !self.here && !knobs.out_of_use {
                self.counts[1] += 1;
                count(&shared.late_hops);
            }
        } else if !self.here {
            self.here = self.line.collect(number, &mut self.played);
        }
        let there = self.here && !self.dropped;
        if there {
            for c in 0..self.channels {
                self.sound[c * self.stride..][..frames]
                    .copy_from_slice(&self.played[c * self.hop + at..][..frames]);
            }
        }
        self.conceal.process(&mut self.sound, &self.dry_block, self.stride, frames, there, knobs.to_dry);
        !self.here && !self.dropped && !knobs.out_of_use
    }

    fn mix(&mut self, block: &mut Block<'_>) {
        let frames = block.frames();
        let mut end = self.wet.clone();
        for c in 0..self.channels {
            let sound = &self.sound[c * self.stride..][..frames];
            let dry = &self.dry_block[c * self.stride..][..frames];
            end = self.wet.clone();
            let out = block.channel_mut(c);
            if !end.is_moving() && end.current() == 1.0 {
                out.copy_from_slice(sound);
                continue;
            }
            for ((o, s), d) in out.iter_mut().zip(sound).zip(dry) {
                *o = d + end.tick() * (s - d);
            }
        }
        self.wet = end;
    }

    /// The collected hop goes to the model. One that finds no room is late for ever.
    fn send(&mut self, knobs: &Knobs) {
        let index = self.number - self.first;
        let drop = knobs.drop_rate > 0.0 && chance(knobs.seed, index) < knobs.drop_rate;
        let places = self.drops.len() as u64;
        self.drops[(self.number % places) as usize] = drop;
        if !knobs.out_of_use && self.line.submit(self.number, self.fresh, &self.collected, &self.own_now) {
            self.fresh = false;
        }
        self.number += 1;
    }
}
