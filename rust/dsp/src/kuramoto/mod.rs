//! Kuramoto: a synth of coupled phase oscillators (Kuramoto 1975, Sakaguchi and Kuramoto 1986).
//!
//! dθ_i/dt = 2π f_i + 2π K r sin(ψ − θ_i − α), with r e^{jψ} = (1/N) Σ e^{jθ_i} and K = `coupling_hz`.
//! For N = 2 this is a pull of K/2 each way, so the difference moves as Δ' = 2π (f1 − f2 − K sin Δ)
//! and locks exactly when |f1 − f2| ≤ K. For N → ∞ and a Lorentzian of half width γ,
//! r = sqrt(1 − 2γ/K) above K = 2γ. A `matrix` or `edges` w replaces the mean field by
//! Σ_j w_ij sin(θ_j − θ_i − α).
//!
//! All oscillators step at once, once per sample, from the field of the same sample. Phases are
//! 64-bit integers (32 in the loop, the fraction settled every 32 samples), so an uncoupled
//! oscillator is exact for ever; only its frequency is rounded, to 2^-64 of the sample rate.
//!
//! Beside these, `ratios` couples pairs near whole-number ratios p:q by Σ_j w_ij sin(q θ_j − p θ_i)
//! (Ermentrout 1981), taken every 32 samples.
//!
//! A `map` of level patterns can set the levels by a position; see `map.rs`.
//!
//! In entrained mode a damped complex resonator z_i (as in `cspace`) at each oscillator's own
//! frequency hears the mean of the input channels, and the oscillator is pulled by
//! 2π E w³ sin(arg z_i − θ_i), E = `entrain_hz`, w = |z|/√(|z|² + 0.587 floor²): an input A sin φ
//! draws θ to φ, with half the strength at the floor and hardly any below.
//!
//! The sum is divided by N sqrt(max(<r²>, 1/N)), <r²> over 0.1 s: incoherent phases count as 1/√N,
//! phases in step as 1/N, so neither N nor synchronisation changes the loudness much; harmonics
//! are divided by the root of their summed power.
//!
//! Harmonics fade out between 0.45 and 0.5 of the sample rate by the natural frequency f_i; what the
//! pulls add to it is not counted.
//!
//! Cost per sample: O(N) with the mean field. A matrix adds, measured with AVX2 at 2.6 GHz, 0.15 ns
//! per weight where it is full (so about 350 oscillators in real time at 48 kHz) and 1.4 to 2 ns
//! per weight where it is sparse. `examples/kuramoto_cost.rs` prints all prices.

mod audio;
mod coupling;
mod grid;
mod kernel;
mod map;
mod ops;
mod phase;
mod ratios;
mod spec;
mod spread;

pub use spec::INFO;

use crate::simd::{F32x8, LANES, Level};
use crate::{Bank, Block, Info, Prepare, PrepareError, Processor, Smoothed, StateError, StateIo};
use coupling::{Coupling, DENSE_MOST};
use grid::{Knobs, Shape};
use kernel::{Band, Complex, Field, GRID, Osc, Partials, Pull, Ramp};
use map::Map;
use ratios::Ratios;
use spec::*;
use spread::Spread;

/// The processor `kuramoto`; see the module's text for its equations.
pub struct Kuramoto {
    params: Bank<COUNT>,
    /// Given by `set_array` before `prepare`.
    matrix: Vec<f32>,
    edges: Vec<f32>,
    ratio_sets: Vec<f32>,
    map_levels: Vec<f32>,
    freq_given: bool,
    amp_given: bool,

    // Made by `prepare`.
    simd: Level,
    rate: f64,
    channels: usize,
    seed: u32,
    count: usize,
    coupling: Coupling,
    matrix_on: bool,
    ratios: Ratios,
    map: Map,
    deviation: Vec<f32>,
    pan: Vec<F32x8>,
    last: F32x8,

    // Running, per oscillator; padded to whole vectors where they hold lanes.
    osc: Vec<Osc>,
    ramps: Vec<Ramp>,
    partials: Vec<Partials>,
    bands: Vec<Band>,
    field: Vec<Field>,
    cycles: Vec<F32x8>,
    fraction: Vec<u32>,
    step_fraction: Vec<u32>,
    /// Steps of 64 bits without and, in Hz, the pull of the ratios; empty without them.
    base: Vec<u64>,
    ratio_hz: Vec<f32>,
    freq: Vec<f64>,
    freq_target: Vec<f64>,
    freq_left: u32,
    amp: Vec<f32>,
    amp_target: Vec<f32>,
    amp_left: u32,
    /// `amp` times the map; empty without one.
    mapped: Vec<f32>,

    // Running, shared.
    knobs: Knobs,
    shape: Shape,
    pull: Pull,
    z: Complex,
    r2: f32,
    mean_r2: f32,
    norm: Smoothed,
    level: Smoothed,
    dry: Smoothed,
    clock: u64,
}

// ---- control ---------------------------------------------------------------------------------

impl Kuramoto {
    /// At the defaults, without arrays.
    pub fn new() -> Self {
        let params = Bank::new(&PARAMS);
        Self {
            knobs: Knobs::new(&params),
            level: Smoothed::new(audio::rms_to_peak(params.get(LEVEL_DB))),
            dry: Smoothed::new(params.get(DRY)),
            params,
            matrix: Vec::new(),
            edges: Vec::new(),
            ratio_sets: Vec::new(),
            map_levels: Vec::new(),
            freq_given: false,
            amp_given: false,
            simd: Level::Plain,
            rate: 0.0,
            channels: 0,
            seed: 0,
            count: 0,
            coupling: Coupling::default(),
            matrix_on: false,
            ratios: Ratios::default(),
            map: Map::default(),
            deviation: Vec::new(),
            pan: Vec::new(),
            last: F32x8::ZERO,
            osc: Vec::new(),
            ramps: Vec::new(),
            partials: Vec::new(),
            bands: Vec::new(),
            field: Vec::new(),
            cycles: Vec::new(),
            fraction: Vec::new(),
            step_fraction: Vec::new(),
            base: Vec::new(),
            ratio_hz: Vec::new(),
            freq: Vec::new(),
            freq_target: Vec::new(),
            freq_left: 0,
            amp: Vec::new(),
            amp_target: Vec::new(),
            amp_left: 0,
            mapped: Vec::new(),
            shape: Shape::default(),
            pull: Pull::default(),
            z: Complex::default(),
            r2: 0.0,
            mean_r2: 0.0,
            norm: Smoothed::default(),
            clock: 0,
        }
    }

    fn is_prepared(&self) -> bool {
        self.count > 0
    }

    /// Ramp of 20 ms in grid steps.
    fn glide(&self) -> u32 {
        ((0.02 * self.rate / GRID as f64).round() as u32).max(1)
    }

    /// Frequencies, levels and couplings from arrays or parameters.
    fn plan(&mut self, n: usize) -> Result<(), PrepareError> {
        let get = |id| f64::from(self.params.get(id));
        let wrong = |name: &str, len: usize| {
            PrepareError(format!("kuramoto: {name} has {len} values; oscillators is {n}"))
        };
        if self.freq_given {
            if self.freq_target.len() != n {
                return Err(wrong("freq_hz", self.freq_target.len()));
            }
        } else {
            let kind = Spread::from_index(get(SPREAD) as usize);
            let seed = get(SEED) as u32;
            self.freq_target =
                spread::frequencies(kind, n, get(BASE_HZ), get(SPAN_OCTAVES), get(SPREAD_HZ), seed);
        }
        if self.amp_given {
            if self.amp_target.len() != n {
                return Err(wrong("level", self.amp_target.len()));
            }
        } else {
            self.amp_target = spread::levels(&self.freq_target, get(BASE_HZ), get(TILT_DB));
        }
        let coupling = match (self.matrix.is_empty(), self.edges.is_empty()) {
            (true, true) => Ok(Coupling::default()),
            (false, true) if n > DENSE_MOST => {
                Err(format!("matrix is for at most {DENSE_MOST} oscillators, not {n}; give edges instead"))
            }
            (false, true) => Coupling::dense(n, &self.matrix),
            (true, false) => Coupling::sparse(n, &self.edges),
            (false, false) => Err("both matrix and edges are given; give one".to_string()),
        };
        self.coupling = coupling.map_err(|e| PrepareError(format!("kuramoto: {e}")))?;
        self.ratios = Ratios::new(n, &self.ratio_sets).map_err(|e| PrepareError(format!("kuramoto: {e}")))?;
        let (rows, columns) = (get(MAP_ROWS) as usize, get(MAP_COLUMNS) as usize);
        self.map = Map::new(&self.map_levels, rows, columns, n)
            .map_err(|e| PrepareError(format!("kuramoto: {e}")))?;
        self.matrix_on = !self.matrix.is_empty() || !self.edges.is_empty();
        Ok(())
    }
}

impl Default for Kuramoto {
    fn default() -> Self {
        Self::new()
    }
}

impl Processor for Kuramoto {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn prepare(&mut self, spec: &Prepare) -> Result<(), PrepareError> {
        let n = self.params.get(OSCILLATORS) as usize;
        self.plan(n)?;
        self.simd = Level::detect();
        (self.rate, self.channels) = (spec.sample_rate, spec.channels);
        self.seed = self.params.get(SEED) as u32;
        self.count = n;
        self.deviation = (0..n).map(|i| spread::normal(self.seed, 2, i).clamp(-3.0, 3.0) as f32).collect();
        let vectors = n.div_ceil(LANES);
        let pans = spread::pans(n);
        let lane = |v: usize, i: usize| pans.get(v * LANES + i).copied().unwrap_or(0.0);
        self.pan = (0..vectors).map(|v| F32x8(std::array::from_fn(|i| lane(v, i)))).collect();
        let used = n - (vectors - 1) * LANES;
        self.last = F32x8(std::array::from_fn(|i| if i < used { 1.0 } else { 0.0 }));
        self.osc = vec![Osc::default(); vectors];
        self.ramps = vec![Ramp::default(); vectors];
        self.partials = vec![Partials::default(); vectors];
        self.bands = vec![Band::default(); vectors];
        self.field = vec![Field::default(); vectors];
        self.cycles = vec![F32x8::ZERO; vectors];
        self.fraction = vec![0; vectors * LANES];
        self.step_fraction = vec![0; vectors * LANES];
        let steered = if self.ratios.len() > 0 { n } else { 0 };
        self.base = vec![0; steered];
        self.ratio_hz = vec![0.0; steered];
        self.freq = self.freq_target.clone();
        self.amp = vec![0.0; vectors * LANES];
        self.mapped = vec![0.0; if self.map.on() { vectors * LANES } else { 0 }];
        self.reset();
        Ok(())
    }

    fn tail_samples(&self) -> usize {
        usize::MAX
    }

    fn param(&self, id: usize) -> f32 {
        self.params.get(id)
    }

    fn tap_len(&self, id: usize) -> usize {
        match id {
            TAP_R | TAP_MEAN_PHASE => 1,
            TAP_PHASES => self.count,
            TAP_LOCKING => self.ratios.len(),
            _ => 0,
        }
    }

    fn array_len(&self, id: usize) -> usize {
        if matches!(id, ARRAY_FREQ | ARRAY_LEVEL) { self.count } else { 0 }
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(self.params.values_mut())?;
        for o in &mut self.osc {
            for lanes in [&mut o.phase, &mut o.step] {
                lanes.0.iter_mut().try_for_each(|v| {
                    let mut bits = *v as u32;
                    io.u32(&mut bits)?;
                    *v = bits as i32;
                    Ok(())
                })?;
            }
            for lanes in [&mut o.sin, &mut o.cos, &mut o.left, &mut o.right] {
                io.f32s(&mut lanes.0)?;
            }
        }
        for r in &mut self.ramps {
            io.f32s(&mut r.left.0)?;
            io.f32s(&mut r.right.0)?;
        }
        for p in &mut self.partials {
            p.level.iter_mut().chain(&mut p.ramp).try_for_each(|v| io.f32s(&mut v.0))?;
        }
        for b in &mut self.bands {
            for lanes in
                [&mut b.re, &mut b.im, &mut b.mu_re, &mut b.mu_im, &mut b.drive, &mut b.heard, &mut b.grip]
            {
                io.f32s(&mut lanes.0)?;
            }
        }
        self.cycles.iter_mut().try_for_each(|v| io.f32s(&mut v.0))?;
        io.u32s(&mut self.fraction)?;
        io.u32s(&mut self.step_fraction)?;
        self.base.iter_mut().try_for_each(|v| io.u64(v))?;
        let means = self.ratios.mean_re.iter_mut().chain(&mut self.ratios.mean_im);
        means.into_iter().try_for_each(|v| io.f32s(&mut v.0))?;
        io.bool(&mut self.freq_given)?;
        io.f64s(&mut self.freq)?;
        io.f64s(&mut self.freq_target)?;
        io.u32(&mut self.freq_left)?;
        io.bool(&mut self.amp_given)?;
        io.f32s(&mut self.amp)?;
        io.f32s(&mut self.amp_target)?;
        io.u32(&mut self.amp_left)?;
        self.knobs.state(io)?;
        self.shape.state(io)?;
        let p = &mut self.pull;
        for v in [&mut p.coupling.re, &mut p.coupling.im, &mut p.entrain, &mut p.floor2] {
            io.f32(v)?;
        }
        io.f32s(&mut p.follow)?;
        io.f32s(&mut p.follow_ramp)?;
        for v in [&mut self.z.re, &mut self.z.im, &mut self.r2, &mut self.mean_r2] {
            io.f32(v)?;
        }
        self.norm.state(io)?;
        self.level.state(io)?;
        self.dry.state(io)?;
        io.u64(&mut self.clock)
    }

    // ---- audio -------------------------------------------------------------------------------

    fn set_param(&mut self, id: usize, value: f32) {
        let v = self.params.set(id, value);
        let ramp = if self.is_prepared() && id < COUNT { self.params.ramp(id, self.rate) } else { 0 };
        match id {
            LEVEL_DB => self.level.set(audio::rms_to_peak(v), ramp),
            DRY => self.dry.set(v, ramp),
            _ if !self.is_prepared() => self.knobs.set(id, v, 0),
            MODE => self.knobs.set(id, v, self.glide() as usize),
            _ => self.knobs.set(id, v, (ramp / GRID).max(1)),
        }
    }

    fn set_array(&mut self, id: usize, data: &[f32]) -> bool {
        if !matches!(id, ARRAY_FREQ..=ARRAY_MAP) || data.iter().any(|v| !v.is_finite()) {
            return false;
        }
        if !self.is_prepared() {
            match id {
                ARRAY_FREQ => {
                    self.freq_target = data.iter().map(|f| f64::from(*f)).collect();
                    self.freq_given = !data.is_empty();
                }
                ARRAY_LEVEL => {
                    self.amp_target = data.iter().map(|a| a.clamp(-16.0, 16.0)).collect();
                    self.amp_given = !data.is_empty();
                }
                ARRAY_MATRIX => self.matrix = data.to_vec(),
                ARRAY_EDGES => self.edges = data.to_vec(),
                ARRAY_RATIOS => self.ratio_sets = data.to_vec(),
                _ => self.map_levels = data.to_vec(),
            }
            return true;
        }
        if data.len() != self.array_len(id) {
            return false;
        }
        if id == ARRAY_FREQ {
            self.freq_target.iter_mut().zip(data).for_each(|(t, f)| *t = f64::from(*f));
            (self.freq_given, self.freq_left) = (true, self.glide());
        } else {
            self.amp_target.iter_mut().zip(data).for_each(|(t, a)| *t = a.clamp(-16.0, 16.0));
            (self.amp_given, self.amp_left) = (true, self.glide());
        }
        true
    }

    fn read_tap(&self, id: usize, out: &mut [f32]) {
        match id {
            TAP_R => out[0] = self.z.re.hypot(self.z.im),
            TAP_MEAN_PHASE => out[0] = self.z.im.atan2(self.z.re),
            TAP_PHASES => {
                let scale = (std::f64::consts::TAU / phase::TURN) as f32;
                for (i, o) in out[..self.count].iter_mut().enumerate() {
                    *o = self.osc[i / LANES].phase.0[i % LANES] as f32 * scale;
                }
            }
            TAP_LOCKING => self.ratios.locking(&mut out[..self.ratios.len()]),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.restart();
    }

    fn process(&mut self, block: &mut Block<'_>) {
        self.run(block);
    }
}

#[cfg(test)]
mod tests;
