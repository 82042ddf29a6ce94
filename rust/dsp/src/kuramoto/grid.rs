//! Control on the grid: every 32 samples, counted from `reset` so that blocks do not matter, the
//! knobs move one step, and levels get the ramp they walk until the next grid point.

use super::audio::amplitude;
use super::kernel::{Band, GRID, HARMONICS, Osc, Partials, Ramp, Start, Tune, run};
use super::phase::TURN;
use super::ratios::{LOCKING_S, step};
use super::spec::*;
use super::{Kuramoto, spread};
use crate::simd::{F32x8, Kernel, LANES};
use crate::{Bank, Smoothed, StateError, StateIo};

/// All parameters, each a ramp counted in grid steps.
#[derive(Clone, Debug)]
pub(super) struct Knobs([Smoothed; COUNT]);

impl Knobs {
    pub fn new(params: &Bank<COUNT>) -> Self {
        Self(std::array::from_fn(|id| Smoothed::new(params.get(id))))
    }

    pub fn set(&mut self, id: usize, value: f32, ramp: usize) {
        if let Some(knob) = self.0.get_mut(id) {
            knob.set(value, ramp);
        }
    }

    fn get(&self, id: usize) -> f32 {
        self.0[id].current()
    }

    fn moves(&self, ids: &[usize]) -> bool {
        ids.iter().any(|id| self.0[*id].is_moving())
    }

    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        self.0.iter_mut().try_for_each(|k| k.state(io))
    }
}

/// What the pass has to do until the next grid point.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    /// Levels are on a ramp.
    pub ramping: bool,
    /// The resonators run.
    pub listening: bool,
    /// Harmonics in use, at least 1.
    pub harmonics: u32,
    /// Where the follow factors are heading.
    follow: [f32; 2],
}

impl Shape {
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.bool(&mut self.ramping)?;
        io.bool(&mut self.listening)?;
        io.u32(&mut self.harmonics)?;
        io.f32s(&mut self.follow)
    }
}

/// Narrowest input band, Hz.
const MIN_BAND_HZ: f64 = 1.0;
/// Standard deviation of a full perturbation as a part of the frequency: 50 cents.
const PERTURB_DEPTH: f64 = 0.0293;
/// Averaging time of <r²>, s.
const LOUDNESS_S: f64 = 0.1;

impl Kuramoto {
    /// All phases, ramps and resonators as after `prepare`.
    pub(super) fn restart(&mut self) {
        if self.count == 0 {
            return;
        }
        self.knobs.0.iter_mut().for_each(Smoothed::snap);
        self.level.snap();
        self.dry.snap();
        (self.freq_left, self.amp_left, self.clock) = (0, 0, 0);
        self.freq.copy_from_slice(&self.freq_target);
        self.amp[..self.count].copy_from_slice(&self.amp_target);
        for i in 0..self.count {
            let start = (spread::uniform(self.seed, 0, i) * TURN) as u32;
            self.osc[i / LANES].phase.0[i % LANES] = start as i32;
        }
        for lane in self.count..self.osc.len() * LANES {
            self.osc[lane / LANES].phase.0[lane % LANES] = 0;
        }
        self.fraction.fill(0);
        self.retune();
        self.shape = Shape::default();
        self.listen(true);
        self.steer(1.0);
        self.set_pull();
        self.set_pull(); // the second call finds the follow factors where they belong: no ramp
        self.form(false);
        let start = Start { osc: &mut self.osc, last: self.last, count: self.count };
        self.z = self.simd.run(start);
        (self.r2, self.mean_r2) = (0.0, 1.0 / self.count as f32);
        self.norm = Smoothed::new(self.loudness());
    }

    /// One grid step.
    pub(super) fn control_step(&mut self) {
        if self.clock > 0 {
            self.settle();
            let a = 1.0 - (-(GRID as f64) / (LOUDNESS_S * self.rate)).exp() as f32;
            self.mean_r2 += a * (self.r2 / GRID as f32 - self.mean_r2);
            self.r2 = 0.0;
            self.norm.set(self.loudness(), GRID);
        }
        let tuning = self.freq_left > 0 || self.knobs.moves(&[PITCH_SEMITONES, PERTURB]);
        let bands = tuning || self.knobs.moves(&[BAND_Q]);
        let levels = tuning || self.amp_left > 0 || self.knobs.moves(&[HARMONIC_COUNT, ROLLOFF, WIDTH]);
        let levels = levels || (self.map.on() && self.knobs.moves(&[MAP_X, MAP_Y, MORPH]));
        let harmonics = self.knobs.get(HARMONIC_COUNT);
        self.knobs.0.iter_mut().for_each(|k| {
            k.tick();
        });
        if self.freq_left > 0 {
            let part = 1.0 / f64::from(self.freq_left);
            self.freq.iter_mut().zip(&self.freq_target).for_each(|(f, t)| *f += (t - *f) * part);
            self.freq_left -= 1;
        }
        if self.amp_left > 0 {
            let part = 1.0 / self.amp_left as f32;
            self.amp.iter_mut().zip(&self.amp_target).for_each(|(a, t)| *a += (t - *a) * part);
            self.amp_left -= 1;
        }
        // Resonators take their frequency from the steps, which must be without pulls then.
        if tuning || (bands && !self.base.is_empty()) {
            self.retune();
        }
        self.listen(bands);
        if self.clock > 0 {
            self.steer((GRID as f64 / (LOCKING_S * self.rate)).min(1.0) as f32);
        }
        self.set_pull();
        if levels || self.shape.ramping {
            self.shape.harmonics = harmonics.ceil() as u32;
            self.form(levels);
        }
    }

    /// Adds the fractions of the steps made since the last grid point.
    fn settle(&mut self) {
        let lanes = self.fraction.chunks_exact_mut(LANES).zip(self.step_fraction.chunks_exact(LANES));
        for (o, (fraction, step)) in self.osc.iter_mut().zip(lanes) {
            for i in 0..LANES {
                let sum = u64::from(fraction[i]) + u64::from(step[i]) * GRID as u64;
                fraction[i] = sum as u32;
                o.phase.0[i] = o.phase.0[i].wrapping_add((sum >> 32) as i32);
            }
        }
    }

    /// 1 / (N sqrt(<r²>)), at most 1/√N.
    fn loudness(&self) -> f32 {
        let n = self.count as f32;
        1.0 / (n * self.mean_r2.max(1.0 / n).sqrt())
    }

    /// Steps of the phases from the frequencies.
    fn retune(&mut self) {
        let ratio = (f64::from(self.knobs.get(PITCH_SEMITONES)) / 12.0).exp2();
        let perturb = f64::from(self.knobs.get(PERTURB)) * PERTURB_DEPTH;
        for (i, (f, d)) in self.freq.iter().zip(&self.deviation).enumerate() {
            let cycles = f * ratio * (1.0 + perturb * f64::from(*d)) / self.rate;
            let cycles = cycles.clamp(-0.4999, 0.4999);
            let step = step(cycles);
            self.osc[i / LANES].step.0[i % LANES] = (step >> 32) as i32;
            self.step_fraction[i] = step as u32;
            self.cycles[i / LANES].0[i % LANES] = cycles.abs() as f32;
            if let Some(base) = self.base.get_mut(i) {
                *base = step as u64;
            }
        }
    }

    /// Steps of the phases with the pull of the ratios; `share` goes into the locking values.
    fn steer(&mut self, share: f32) {
        if self.base.is_empty() {
            return;
        }
        let osc = &self.osc;
        self.ratios.look(|i| osc[i / LANES].phase.0[i % LANES]);
        run(self.simd, self.ratios.pass(share));
        self.ratio_hz.fill(0.0);
        self.ratios.add_to(&mut self.ratio_hz);
        let (k, most) = (self.knobs.get(RATIO_COUPLING), (self.rate / 1024.0) as f32);
        for (i, (base, hz)) in self.base.iter().zip(&self.ratio_hz).enumerate() {
            let pull = f64::from((k * hz).clamp(-most, most)) / self.rate;
            let step = (*base as i64).saturating_add(step(pull));
            self.osc[i / LANES].step.0[i % LANES] = (step >> 32) as i32;
            self.step_fraction[i] = step as u32;
        }
    }

    /// Starts, tunes or stops the resonators.
    fn listen(&mut self, tune: bool) {
        let on = self.knobs.get(MODE) > 0.0;
        let start = on && !self.shape.listening;
        if start {
            self.bands.fill(Band::default());
        }
        if start || (on && tune) {
            self.simd.run(Tune {
                osc: &self.osc,
                freq: &self.cycles,
                bands: &mut self.bands,
                q: self.knobs.get(BAND_Q),
                min_band: (MIN_BAND_HZ / self.rate) as f32,
            });
        }
        self.shape.listening = on;
    }

    /// Strengths of the pulls. Their sum stays below a quarter turn per sample, where the explicit
    /// step is stable.
    fn set_pull(&mut self) {
        let engaged = self.knobs.get(MODE);
        let (k, e) = (self.knobs.get(COUPLING_HZ), self.knobs.get(ENTRAIN_HZ) * engaged);
        let limit = (0.25 * self.rate) as f32;
        let units = (TURN / self.rate) as f32 * (limit / (k + e).max(limit));
        let (sin, cos) = self.knobs.get(PHASE_LAG_RAD).sin_cos();
        let follow = self.knobs.get(FOLLOW) * engaged;
        let goal = [1.0 - follow, follow / amplitude(self.knobs.get(FOLLOW_REF_DB))];
        let p = &mut self.pull;
        (p.coupling.re, p.coupling.im) = (k * units * cos, -k * units * sin);
        p.entrain = e * units;
        // w³ = 1/2 at the floor.
        p.floor2 = 0.587_401 * amplitude(2.0 * self.knobs.get(ENTRAIN_FLOOR_DB));
        p.follow = self.shape.follow;
        p.follow_ramp = std::array::from_fn(|i| (goal[i] - p.follow[i]) / GRID as f32);
        self.shape.follow = goal;
    }

    /// Levels of oscillators and harmonics: as a ramp to the next grid point, or at rest.
    fn form(&mut self, ramp: bool) {
        let count = self.knobs.get(HARMONIC_COUNT);
        let rolloff = self.knobs.get(ROLLOFF);
        // A half harmonic is one on its way in or out.
        let weight = |h: usize| (h as f32).powf(-rolloff) * (count - h as f32 + 1.0).clamp(0.0, 1.0);
        let weights: [f32; HARMONICS] = std::array::from_fn(|h| weight(h + 1));
        self.shape.harmonics = self.shape.harmonics.max(count.ceil() as u32);
        self.shape.ramping = ramp;
        if self.map.on() {
            let place = [MAP_X, MAP_Y, MORPH].map(|id| self.knobs.get(id));
            self.map.apply(place[0], place[1], place[2], &self.amp, &mut self.mapped[..self.count]);
        }
        self.simd.run(Form {
            osc: &mut self.osc,
            ramps: &mut self.ramps,
            partials: &mut self.partials,
            cycles: &self.cycles,
            pan: &self.pan,
            amp: if self.map.on() { &self.mapped } else { &self.amp },
            scale: 1.0 / weights.iter().map(|w| w * w).sum::<f32>().sqrt(),
            width: if self.channels > 1 { self.knobs.get(WIDTH) } else { 0.0 },
            harmonics: if ramp { self.shape.harmonics as usize } else { HARMONICS },
            weights,
            ramp,
        });
    }
}

/// The loop of [`Kuramoto::form`].
struct Form<'a> {
    osc: &'a mut [Osc],
    ramps: &'a mut [Ramp],
    partials: &'a mut [Partials],
    cycles: &'a [F32x8],
    pan: &'a [F32x8],
    amp: &'a [f32],
    scale: f32,
    width: f32,
    harmonics: usize,
    weights: [f32; HARMONICS],
    ramp: bool,
}

/// 1 below 0.45 of the sample rate, 0 from the Nyquist frequency on, smooth between.
#[inline(always)]
fn fade(cycles: F32x8) -> F32x8 {
    F32x8(std::array::from_fn(|i| {
        let t = ((0.5 - cycles.0[i]) * 20.0).clamp(0.0, 1.0);
        t * t * (3.0 - 2.0 * t)
    }))
}

/// Where a level starts and how it moves per sample so that it is `goal` after one grid step.
#[inline(always)]
fn head(level: &mut F32x8, ramp: &mut F32x8, goal: F32x8, walk: bool) {
    let steps = F32x8::splat(GRID as f32);
    if walk {
        *level = *level + *ramp * steps;
        *ramp = (goal - *level) * F32x8::splat(1.0 / GRID as f32);
    } else {
        (*level, *ramp) = (goal, F32x8::ZERO);
    }
}

impl Kernel for Form<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let lanes = self.amp.chunks_exact(LANES).zip(self.cycles.iter().zip(self.pan));
        let state = self.osc.iter_mut().zip(self.ramps).zip(self.partials);
        for (((o, r), p), (amp, (cycles, pan))) in state.zip(lanes) {
            let first = fade(*cycles);
            let level = F32x8(std::array::from_fn(|i| amp[i])) * first * F32x8::splat(self.scale);
            // Constant power: the squares of both sides add up to 2.
            let side = |sign: f32| {
                F32x8(std::array::from_fn(|i| (1.0 + sign * self.width * pan.0[i]).max(0.0).sqrt()))
            };
            head(&mut o.left, &mut r.left, level * side(-1.0), self.ramp);
            head(&mut o.right, &mut r.right, level * side(1.0), self.ramp);
            let inverse = F32x8(std::array::from_fn(|i| 1.0 / first.0[i].max(1e-20)));
            for h in 1..self.harmonics {
                let weight = F32x8::splat(self.weights[h]);
                let goal = fade(*cycles * F32x8::splat((h + 1) as f32)) * weight * inverse;
                head(&mut p.level[h - 1], &mut p.ramp[h - 1], goal, self.ramp);
            }
        }
    }
}
