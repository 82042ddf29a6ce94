//! Heal: plays on where the input is lost.
//!
//! Every sample does its share of the analysis, by sample count, so that no block pays for a whole
//! one and results do not depend on blocks. What was put in is the past of what comes after it.

mod blend;
mod burg;
mod detect;
mod gap;
mod line;
mod period;
mod spec;
mod voice;

use crate::simd::Level;
use crate::{Bank, Block, Info, Prepare, PrepareError, Processor, StateError, StateIo};
use blend::{MODELS, Rehearsal};
use burg::{Model, Plan};
use detect::{Detector, Kind, SUSPECT};
use gap::{Gap, Manner};
use line::Lines;
use period::Period;
use spec::{COUNT, DETECT, DETECT_MS, FADE_MS, FLOOR_DB, HOLD_MS, LOST, METHOD, Method, PARAMS, RETURN_MS};

pub use spec::INFO;

// ---- control ---------------------------------------------------------------------------------

/// How a model grows with the sample rate, and where it stops: from there on it looks back for less
/// time instead of costing more. Chosen on recordings that no table is made from: `docs/heal.md`.
struct Size {
    order_seconds: f64,
    order: usize,
    window_seconds: f64,
    window: usize,
    /// Time for a fit, and at a loss.
    work_seconds: f64,
    hurry_seconds: f64,
    recent: bool,
}

const SHORT: Size = Size {
    order_seconds: 0.008,
    order: 256,
    window_seconds: 0.025,
    window: 960,
    work_seconds: 0.0025,
    hurry_seconds: 0.001_25,
    recent: true,
};
const LONG: Size = Size {
    order_seconds: 0.021_33,
    order: 768,
    window_seconds: 0.080,
    window: 2400,
    work_seconds: 0.020,
    hurry_seconds: 0.005,
    recent: false,
};

impl Size {
    fn plan(&self, sample_rate: f64) -> Plan {
        let samples = |s: f64| (s * sample_rate).round() as usize;
        Plan {
            order: samples(self.order_seconds).min(self.order),
            window: samples(self.window_seconds).min(self.window),
            work: samples(self.work_seconds).max(1),
            hurry: samples(self.hurry_seconds).max(1),
            recent: self.recent,
        }
    }
}

/// Why a sample is not listened to.
const TOLD: u32 = 1;
const FOUND: u32 = 2;

/// Losses so far.
#[derive(Default)]
struct Counts {
    told: u64,
    found: u64,
    samples: u64,
    longest: u64,
}

/// Fills losses of the input from its past.
pub struct Heal {
    params: Bank<COUNT>,
    sample_rate: f64,
    channels: usize,
    latency: usize,
    floor: f32,
    simd: Level,
    /// Samples taken in, counted from the length of the lines so that none before is negative.
    now: u64,
    lines: Lines,
    /// Why a sample is lost, of those that wait to be heard; 0: it is not.
    flags: Vec<u32>,
    /// How many of those are.
    pending: usize,
    /// The last frame was told to be lost.
    was_told: bool,
    detector: Detector,
    models: [Model; MODELS],
    rehearsal: Rehearsal,
    period: Period,
    gap: Gap,
    counts: Counts,
}

impl Heal {
    /// Waiting to be told.
    pub fn new() -> Self {
        let plans = [SHORT.plan(0.0), LONG.plan(0.0)];
        Self {
            params: Bank::new(&PARAMS),
            sample_rate: 0.0,
            channels: 0,
            latency: 0,
            floor: 0.0,
            simd: Level::Plain,
            now: 0,
            lines: Lines::new(0, 1),
            flags: Vec::new(),
            pending: 0,
            was_told: false,
            detector: Detector::new(Kind::Off, 48_000.0),
            models: plans.map(|p| Model::new(p, 0)),
            rehearsal: Rehearsal::new([0; MODELS], 0, 48_000.0),
            period: Period::new(0.0),
            gap: Gap::new([0; MODELS], 0, 0, 0, 48_000.0),
            counts: Counts::default(),
        }
    }

    fn samples(&self, id: usize) -> u64 {
        (f64::from(self.params.get(id)) * 1e-3 * self.sample_rate).round() as u64
    }

    fn method(&self) -> Method {
        Method::from_param(self.params.get(METHOD))
    }
}

impl Default for Heal {
    fn default() -> Self {
        Self::new()
    }
}

impl Processor for Heal {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn prepare(&mut self, spec: &Prepare) -> Result<(), PrepareError> {
        self.sample_rate = spec.sample_rate;
        self.channels = spec.channels;
        self.simd = Level::detect();
        let kind = spec::kind(self.params.get(DETECT));
        // A run is suspected before it is found.
        let found_after = (self.samples(DETECT_MS) as usize).max(SUSPECT + 1);
        self.latency = if kind == Kind::Off { 0 } else { found_after };
        let plans = [SHORT.plan(spec.sample_rate), LONG.plan(spec.sample_rate)];
        let orders = plans.map(|p| p.order);
        self.period = Period::new(spec.sample_rate);
        let past = plans.iter().map(|p| p.window).max().unwrap_or(0).max(self.period.reach());
        self.lines = Lines::new(spec.channels, past + self.latency + 2);
        self.flags = vec![0; self.latency + 1];
        self.detector = Detector::new(kind, spec.sample_rate);
        self.models = plans.map(|p| Model::new(p, spec.channels));
        self.rehearsal = Rehearsal::new(orders, spec.channels, spec.sample_rate);
        self.gap = Gap::new(orders, self.period.reach(), plans[1].window, spec.channels, spec.sample_rate);
        self.set_param(FLOOR_DB, self.params.get(FLOOR_DB));
        self.reset();
        Ok(())
    }

    fn latency_samples(&self) -> usize {
        self.latency
    }

    fn tail_samples(&self) -> usize {
        self.latency + (self.samples(HOLD_MS) + self.samples(FADE_MS)) as usize
    }

    fn tap_len(&self, id: usize) -> usize {
        [4, 1, self.channels].get(id).copied().unwrap_or(0)
    }

    fn param(&self, id: usize) -> f32 {
        self.params.get(id)
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(self.params.values_mut())?;
        io.f32(&mut self.floor)?;
        io.u64(&mut self.now)?;
        self.lines.state(io)?;
        io.u32s(&mut self.flags)?;
        io.usize(&mut self.pending)?;
        io.bool(&mut self.was_told)?;
        self.detector.state(io)?;
        self.models.iter_mut().try_for_each(|m| m.state(io))?;
        self.rehearsal.state(io)?;
        self.period.state(io)?;
        self.gap.state(io)?;
        let c = &mut self.counts;
        [&mut c.told, &mut c.found, &mut c.samples, &mut c.longest].into_iter().try_for_each(|n| io.u64(n))
    }

    // ---- audio -------------------------------------------------------------------------------

    fn set_param(&mut self, id: usize, value: f32) {
        let value = self.params.set(id, value);
        if id == FLOOR_DB {
            self.floor = 10f32.powf(value * 0.05);
        }
    }

    fn reset(&mut self) {
        self.now = self.lines.size() as u64;
        self.lines.clear();
        self.flags.fill(0);
        self.pending = 0;
        self.was_told = false;
        self.detector.clear();
        self.models.iter_mut().for_each(Model::clear);
        self.rehearsal.clear();
        self.period.clear();
        self.gap.clear();
        self.counts = Counts::default();
    }

    fn read_tap(&self, id: usize, out: &mut [f32]) {
        let c = &self.counts;
        match id {
            0 => {
                let seconds = (c.samples as f64 / self.sample_rate) as f32;
                let longest = (c.longest as f64 / self.sample_rate * 1e3) as f32;
                out.copy_from_slice(&[c.told as f32, c.found as f32, seconds, longest]);
            }
            1 => out[0] = self.gap.share(),
            2 => out.iter_mut().enumerate().for_each(|(c, x)| *x = self.rehearsal.shares(c)[1] as f32),
            _ => {}
        }
    }

    fn process(&mut self, block: &mut Block<'_>) {
        let method = self.method();
        let told = self.params.get(LOST) >= 0.5;
        for i in 0..block.frames() {
            self.frame(block, i, method, told);
        }
    }
}

impl Heal {
    /// Sample `i` of the block comes in, and the one `latency` before it goes out.
    fn frame(&mut self, block: &mut Block<'_>, i: usize, method: Method, told: bool) {
        let t = self.now;
        self.now += 1;
        let mut told = told;
        for c in 0..self.channels {
            let x = block.channel(c)[i];
            // Not a number is no sound either.
            told |= !x.is_finite();
            self.lines.set(c, t, if x.is_finite() { x } else { 0.0 });
        }
        let was_clean = self.pending == 0 && !self.gap.is_active();
        let run = self.judge(t, told);
        let clean = was_clean && run < SUSPECT && !told;
        self.analyse(t, clean, run, method);
        if self.latency > 0 && was_clean && (run == SUSPECT || (told && !self.was_told)) {
            // What lies before the loss is all there: time to fit it before the loss is heard.
            self.hurry(t + 1 - if told { 1 } else { SUSPECT as u64 }, method);
        }
        self.was_told = told;

        let out = t - self.latency as u64;
        let place = self.flag(out);
        let why = std::mem::take(&mut self.flags[place]);
        if why != 0 {
            self.pending -= 1;
            if !self.gap.is_active() || self.gap.is_returning() {
                let (hold, fade) = (self.samples(HOLD_MS), self.samples(FADE_MS));
                let manner = Manner { method, hold, fade, lag: self.period.lag() };
                self.hurry(out, method);
                self.gap.begin(manner, &self.models, &self.rehearsal, &self.lines, out);
                *(if why == TOLD { &mut self.counts.told } else { &mut self.counts.found }) += 1;
            }
            self.counts.samples += 1;
            self.counts.longest = self.counts.longest.max(self.gap.age() + 1);
        } else if self.gap.is_active() && !self.gap.is_returning() {
            self.gap.come_back(self.samples(RETURN_MS) as usize);
        }
        if self.gap.is_active() {
            self.gap.tick(&mut self.lines, out, self.simd);
        }
        for c in 0..self.channels {
            block.channel_mut(c)[i] = self.lines.at(c, out);
        }
    }

    /// A loss begins at sample `end`. Thread: audio.
    fn hurry(&mut self, end: u64, method: Method) {
        for (model, needed) in self.models.iter_mut().zip(method.models()) {
            if needed {
                model.hurry(&self.lines, end);
            }
        }
    }

    fn flag(&self, t: u64) -> usize {
        (t % self.flags.len() as u64) as usize
    }

    fn mark(&mut self, t: u64, why: u32) {
        let place = self.flag(t);
        if self.flags[place] == 0 {
            self.flags[place] = why;
            self.pending += 1;
        }
    }

    /// Marks what is lost; returns how long a suspected run is. Thread: audio.
    fn judge(&mut self, t: u64, told: bool) -> usize {
        if told {
            self.mark(t, TOLD);
        }
        if self.latency == 0 {
            return 0;
        }
        let lines = &self.lines;
        self.detector.push((0..self.channels).map(|c| (lines.at(c, t), lines.at(c, t - 1))), self.floor);
        let run = self.detector.run();
        if run == self.latency {
            (0..run as u64).for_each(|i| self.mark(t - i, FOUND));
        } else if run > self.latency {
            self.mark(t, FOUND);
        }
        run
    }

    /// This sample's share of the analysis. Thread: audio.
    fn analyse(&mut self, t: u64, clean: bool, run: usize, method: Method) {
        let out = t - self.latency as u64;
        let end = if clean {
            // A window ends before what may turn out to be a loss.
            Some(t + 1 - run as u64)
        } else {
            // Another loss waits: all before what is heard next is final.
            (!self.gap.is_active()).then_some(out)
        };
        for (i, (model, needed)) in self.models.iter_mut().zip(method.models()).enumerate() {
            if !needed || !model.tick(&self.lines, end, clean, self.simd) {
                continue;
            }
            if self.gap.is_active() && model.ready_end() == self.gap.start() {
                self.gap.renew(i, model, &self.rehearsal, &self.lines, out);
            }
            if method == Method::Blend {
                self.rehearsal.offer(i, model, &self.lines);
            }
        }
        match method {
            Method::Blend if clean => self.rehearsal.tick(&self.lines, self.simd),
            Method::Repeat => self.period.tick(&self.lines, self.channels, end, self.simd),
            _ => self.rehearsal.stop(),
        }
    }
}
