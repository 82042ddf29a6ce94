//! From knobs to coefficients: everything of the effect that the channels share.
//!
//! Knobs are looked at every [`SEGMENT`] samples, counted from the last reset, whatever the blocks
//! are. Within a segment the weights, the input gate and the dry level move in straight lines; the
//! poles step. While nothing moves, nothing is computed.

use super::bank::{Coefs, Complex, Pole, Weights, pack};
use super::design;
use super::spec::*;
use crate::simd::{F32x8, LANES};
use crate::{Bank, Smoothed, StateError, StateIo};

/// Samples between two looks at the knobs.
pub(super) const SEGMENT: usize = 32;

/// How fast the phase left over from a shift is turned back once the shift is 0.
const UNWIND_HZ: f64 = 4.0;
/// Time in which the sum fades in and out, and band gains move.
const FADE_MS: f64 = 20.0;

/// A value over one segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub from: f32,
    pub to: f32,
}

impl Line {
    fn rest(value: f32) -> Self {
        Self { from: value, to: value }
    }

    fn advance(&mut self, to: f32) {
        *self = Self { from: self.to, to };
    }

    pub fn is_level(self) -> bool {
        self.from == self.to
    }

    /// The value at `position` samples into the segment.
    pub fn at(self, position: usize) -> f32 {
        self.from + (self.to - self.from) * (position as f32 * (1.0 / SEGMENT as f32))
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32(&mut self.from)?;
        io.f32(&mut self.to)
    }
}

/// Knobs on their way, and what they make of the bank.
#[derive(Default)]
pub(super) struct Motion {
    /// μ and b as blur and freeze have them.
    pub coefs: Coefs,
    /// Output weights, wet level and band gains included.
    pub weights: Weights,
    /// Whether the weights move in this segment.
    pub moving: bool,
    /// Whether the sum is being turned in phase.
    pub rotating: bool,
    /// Share of the sum in the output.
    pub level: Line,
    /// Share of the input that reaches the oscillators.
    pub gate: Line,
    /// Cosine and sine of the phase at each sample of the segment, while `rotating`.
    pub rotation: [[f32; SEGMENT]; 2],
    /// Samples gone by in this segment.
    pub position: usize,

    sample_rate: f64,
    poles: Vec<Pole>,
    /// cos − 1 and sin of each angle.
    turns: Vec<[f64; 2]>,
    hz: Vec<f32>,
    octave: Vec<f32>,
    sum_re: Vec<F32x8>,
    sum_im: Vec<F32x8>,
    held_re: Vec<f32>,
    held_im: Vec<f32>,

    knobs: [Smoothed; LIVE],
    engaged: Smoothed,
    dirty: bool,
    bands: Vec<F32x8>,
    band_targets: Vec<F32x8>,
    band_steps_left: u32,
    bands_flat: bool,
    gains: Vec<F32x8>,
    phase: f64,
    /// Turn of one segment, and its share up to each sample.
    turned_by: f64,
    spins: [Complex; SEGMENT],
}

/// The scale a knob moves on.
fn travel(id: usize, value: f32) -> f32 {
    if matches!(id, BLUR | FOCUS_HZ) { value.log2() } else { value }
}

/// dB to amplitude, silence at the bottom.
fn amplitude(db: f32) -> f32 {
    if db <= SILENCE_DB { 0.0 } else { (db.min(TOP_DB) * std::f32::consts::LOG2_10 * 0.05).exp2() }
}

impl Motion {
    /// For these oscillators and weights. Thread: control. May allocate.
    pub fn new(
        sample_rate: f64,
        hz: &[f64],
        poles: &[Pole],
        weights: &[Complex],
        params: &Bank<COUNT>,
    ) -> Self {
        let n = poles.len();
        let resting = Weights::from_complex(weights);
        let (held_re, held_im) = poles.iter().map(|p| design::undamped(p.angle)).unzip();
        let ones = Coefs::silent(n).drive;
        let mut out = Self {
            coefs: Coefs::new(poles),
            weights: Weights::new(n),
            sample_rate,
            poles: poles.to_vec(),
            turns: poles.iter().map(|p| Pole { decay: 0.0, ..*p }.mu()).map(|mu| [mu.re, mu.im]).collect(),
            hz: hz.iter().map(|&f| f as f32).collect(),
            octave: hz.iter().map(|&f| design::octaves(1000.0, f) as f32).collect(),
            sum_re: resting.re,
            sum_im: resting.im,
            held_re,
            held_im,
            bands: ones.clone(),
            band_targets: ones.clone(),
            bands_flat: true,
            gains: ones,
            turned_by: f64::NAN,
            ..Self::default()
        };
        pack((0..n).map(|_| 1.0), &mut out.band_targets);
        for id in FIRST_LIVE..COUNT {
            out.set(id, params.get(id), 0);
        }
        out.settle();
        out
    }

    /// Starts the ramp of a live parameter. Thread: audio.
    pub fn set(&mut self, id: usize, value: f32, ramp: usize) {
        self.knobs[id - FIRST_LIVE].set(travel(id, value), ramp);
        self.dirty = true;
    }

    /// Starts the ramp of the band gains, in dB. Thread: audio.
    pub fn set_bands(&mut self, gains_db: &[f32]) {
        let clean = |db: f32| if db.is_nan() { 0.0 } else { db.clamp(SILENCE_DB, 24.0) };
        pack(gains_db.iter().map(|&db| amplitude(clean(db))), &mut self.band_targets);
        self.bands_flat = gains_db.iter().all(|&db| clean(db) == 0.0);
        self.band_steps_left = (FADE_MS * 1e-3 * self.sample_rate / SEGMENT as f64).ceil() as u32;
        self.dirty = true;
    }

    /// Every ramp lands, the phase and the sample count start at 0. Thread: audio.
    pub fn settle(&mut self) {
        self.knobs.iter_mut().for_each(Smoothed::snap);
        self.bands.copy_from_slice(&self.band_targets);
        self.band_steps_left = 0;
        (self.position, self.phase, self.rotating, self.moving) = (0, 0.0, false, false);
        self.dirty = true;
        let engage = if self.is_neutral() { 0.0 } else { 1.0 };
        self.engaged = Smoothed::new(engage);
        self.level = Line::rest(self.wet());
        self.gate = Line::rest(self.open());
        self.set_coefs();
        self.set_gains();
        self.set_weights(self.level.to);
    }

    fn knob(&self, id: usize) -> f32 {
        self.knobs[id - FIRST_LIVE].current()
    }

    fn is_moving(&self, id: usize) -> bool {
        self.knobs[id - FIRST_LIVE].is_moving()
    }

    /// Whether the bank, left alone, would give the input back: then the input itself is passed.
    fn is_neutral(&self) -> bool {
        let at = |id: usize| {
            let k = &self.knobs[id - FIRST_LIVE];
            k.current() == 0.0 && k.target() == 0.0
        };
        [BLUR, FREEZE, SHIFT_HZ, TILT, FOCUS_GAIN_DB].into_iter().all(at)
            && self.bands_flat
            && self.band_steps_left == 0
    }

    fn wet(&self) -> f32 {
        let (mix, sum, engaged) = (self.knob(MIX), self.knob(RESYNTHESIS), self.engaged.current());
        mix * (sum + engaged * (1.0 - sum))
    }

    /// A band that rings longer is narrower; the root keeps the power of noise in it.
    fn open(&self) -> f32 {
        (1.0 - self.knob(FREEZE)) * (-0.5 * self.knob(BLUR)).exp2()
    }

    /// Whether the next look at the knobs would change nothing. Thread: audio.
    pub fn is_resting(&self) -> bool {
        !(self.dirty || self.moving || self.rotating || self.engaged.is_moving())
            && self.level.is_level()
            && self.gate.is_level()
    }

    /// Looks at the knobs at the start of a segment. Thread: audio. Never allocates, locks or logs.
    pub fn tick(&mut self) {
        if self.is_resting() {
            return;
        }
        let poles_move = self.is_moving(BLUR) || self.is_moving(FREEZE);
        let shift = self.knob(SHIFT_HZ);
        let gains_move = self.band_steps_left > 0
            || [SHIFT_HZ, TILT, FOCUS_HZ, FOCUS_WIDTH, FOCUS_GAIN_DB]
                .into_iter()
                .any(|id| self.is_moving(id));
        for knob in self.knobs.iter_mut().filter(|k| k.is_moving()) {
            (0..SEGMENT).for_each(|_| _ = knob.tick());
        }
        if self.band_steps_left > 0 {
            let share = F32x8::splat(1.0 / self.band_steps_left as f32);
            self.band_steps_left -= 1;
            let last = self.band_steps_left == 0;
            for (b, t) in self.bands.iter_mut().zip(&self.band_targets) {
                *b = if last { *t } else { *b + (*t - *b) * share };
            }
        }
        self.turn(shift);
        let engage = if self.is_neutral() && !self.rotating { 0.0 } else { 1.0 };
        if engage != self.engaged.target() {
            self.engaged.set(engage, (FADE_MS * 1e-3 * self.sample_rate).round() as usize);
        }
        if self.engaged.is_moving() {
            (0..SEGMENT).for_each(|_| _ = self.engaged.tick());
        }
        if poles_move {
            self.set_coefs();
        }
        self.gate.advance(self.open());
        self.level.advance(self.wet());
        let was_moving = std::mem::replace(&mut self.moving, gains_move || !self.level.is_level());
        if self.moving || was_moving {
            self.set_weights(self.level.from);
            if self.moving {
                self.set_gains();
                self.set_slopes();
            }
        }
        self.dirty = self.knobs.iter().any(Smoothed::is_moving) || self.band_steps_left > 0;
    }

    /// Plans the phase of this segment; `before` is the shift at its start.
    fn turn(&mut self, before: f32) {
        let shift = 0.5 * f64::from(before + self.knob(SHIFT_HZ));
        let whole = SEGMENT as f64 * std::f64::consts::TAU / self.sample_rate;
        let by = if before != 0.0 || self.knob(SHIFT_HZ) != 0.0 {
            shift * whole
        } else {
            let most = UNWIND_HZ * whole;
            -self.phase.clamp(-most, most)
        };
        self.rotating = by != 0.0 || self.phase != 0.0;
        if !self.rotating {
            return;
        }
        if by != self.turned_by {
            self.turned_by = by;
            let (mut power, spin) = (Complex::ONE, Complex::cis(by / SEGMENT as f64));
            for p in &mut self.spins {
                *p = power;
                power *= spin;
            }
        }
        let start = Complex::cis(self.phase);
        for (i, p) in self.spins.iter().enumerate() {
            let z = start * p;
            (self.rotation[0][i], self.rotation[1][i]) = (z.re as f32, z.im as f32);
        }
        let phase = self.phase + by;
        self.phase = phase - std::f64::consts::TAU * (phase / std::f64::consts::TAU).round();
    }

    fn set_coefs(&mut self) {
        let (blur, freeze) = (f64::from(self.knob(BLUR).exp2()), f64::from(self.knob(FREEZE)));
        let stretch = (1.0 - freeze) / blur;
        for (k, p) in self.poles.iter().enumerate() {
            let (v, lane) = (k / LANES, k % LANES);
            let (re, im) = if freeze == 1.0 {
                (self.held_re[k], self.held_im[k])
            } else {
                // As Pole::mu, with the angle's sine and cosine from the table.
                let shrink = (-p.decay * stretch).exp_m1();
                let [cos_less_1, sin] = self.turns[k];
                ((shrink * (1.0 + cos_less_1) + cos_less_1) as f32, ((1.0 + shrink) * sin) as f32)
            };
            (self.coefs.mu_re[v].0[lane], self.coefs.mu_im[v].0[lane]) = (re, im);
        }
    }

    /// Band gains from the array, tilt and focus; bands that the shift would fold around 0 Hz or
    /// the Nyquist frequency fade out.
    fn set_gains(&mut self) {
        let (tilt, gain, shift) = (self.knob(TILT), self.knob(FOCUS_GAIN_DB), self.knob(SHIFT_HZ));
        let center = self.knob(FOCUS_HZ) - 1000f32.log2();
        let steep = 2.0 / self.knob(FOCUS_WIDTH);
        let nyquist = 0.5 * self.sample_rate as f32;
        self.gains.copy_from_slice(&self.bands);
        if tilt == 0.0 && gain == 0.0 && shift == 0.0 {
            return;
        }
        for (k, (&oct, &hz)) in self.octave.iter().zip(&self.hz).enumerate() {
            let off = (oct - center) * steep;
            let db = tilt * oct + gain * (-off * off).exp2();
            let moved = hz + shift;
            let low = (moved / hz.min(20.0)).clamp(0.0, 1.0);
            let high = if shift > 0.0 { (50.0 * (1.0 - moved / nyquist)).clamp(0.0, 1.0) } else { 1.0 };
            self.gains[k / LANES].0[k % LANES] *= amplitude(db) * low * high;
        }
    }

    fn set_weights(&mut self, level: f32) {
        let level = F32x8::splat(level);
        for v in 0..self.gains.len() {
            let g = self.gains[v] * level;
            self.weights.re[v] = self.sum_re[v] * g;
            self.weights.im[v] = self.sum_im[v] * g;
        }
    }

    /// Slopes from the weights as they are to those at the segment's end.
    fn set_slopes(&mut self) {
        let (level, share) = (F32x8::splat(self.level.to), F32x8::splat(1.0 / SEGMENT as f32));
        for v in 0..self.gains.len() {
            let g = self.gains[v] * level;
            self.weights.slope_re[v] = (self.sum_re[v] * g - self.weights.re[v]) * share;
            self.weights.slope_im[v] = (self.sum_im[v] * g - self.weights.im[v]) * share;
        }
    }

    /// Saves or restores everything that moves.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        self.knobs.iter_mut().try_for_each(|k| k.state(io))?;
        self.engaged.state(io)?;
        self.level.state(io)?;
        self.gate.state(io)?;
        for flag in [&mut self.moving, &mut self.rotating, &mut self.dirty, &mut self.bands_flat] {
            io.bool(flag)?;
        }
        io.usize(&mut self.position)?;
        io.u32(&mut self.band_steps_left)?;
        io.f64(&mut self.phase)?;
        self.rotation.iter_mut().try_for_each(|r| io.f32s(r))?;
        let (c, w) = (&mut self.coefs, &mut self.weights);
        for lanes in [
            &mut c.mu_re,
            &mut c.mu_im,
            &mut w.re,
            &mut w.im,
            &mut w.slope_re,
            &mut w.slope_im,
            &mut self.bands,
            &mut self.band_targets,
            &mut self.gains,
        ] {
            lanes.iter_mut().try_for_each(|v| io.f32s(&mut v.0))?;
        }
        Ok(())
    }
}
