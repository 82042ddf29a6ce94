//! Equaliser: low shelf, three bells, high shelf, with knobs that can be swept.
//!
//! Thirteen numbers describe it, in the order of the adaptive EQ's data: G1 F1, G2 F2 Q2, G3 F3 Q3,
//! G4 F4 Q4, G5 F5. [`response`] gives its true curve, [`sections`] its cookbook coefficients.

mod design;
mod glide;
mod kernel;

pub use design::{BANDS, Band, HIGHEST_CENTER, SHELF_Q, Shape, bands, response, response_db, sections};

use crate::simd::Level;
use crate::{Bank, Block, Info, ParamSpec, Prepare, PrepareError, Processor, Scale, StateError, StateIo};
use design::{LAYOUT, PARAMS as SHAPE};
use glide::Glide;
use kernel::{Cell, MOVING, NEUTRAL, RESTING, Span, States};

// ---- spec ------------------------------------------------------------------------------------

/// Knobs: the 13 of the curve, and the output's.
const COUNT: usize = SHAPE + 1;
const OUTPUT: usize = SHAPE;

/// While a knob moves, exact coefficients are computed once per this many samples and walked to
/// in straight lines; counted from the first sample after the knob was touched.
const SEGMENT: usize = 16;

const fn gain(name: &'static str, doc: &'static str) -> ParamSpec {
    ParamSpec::new(name, "dB", (-24.0, 24.0), 0.0).smooth_ms(30.0).doc(doc)
}

const fn center(name: &'static str, default: f32, doc: &'static str) -> ParamSpec {
    ParamSpec::new(name, "Hz", (20.0, 20_000.0), default).scale(Scale::Log).smooth_ms(30.0).doc(doc)
}

const fn q(name: &'static str, doc: &'static str) -> ParamSpec {
    ParamSpec::new(name, "", (0.1, 10.0), 1.0).scale(Scale::Log).smooth_ms(30.0).doc(doc)
}

static PARAMS: [ParamSpec; COUNT] = [
    gain("low_gain_db", "Lift or cut of everything below low_center_hz."),
    center("low_center_hz", 100.0, "Where the low shelf reaches half of its gain in dB."),
    gain("band1_gain_db", "Lift or cut at the centre of the first bell."),
    center("band1_center_hz", 300.0, "Centre of the first bell."),
    q("band1_q", "Narrowness of the first bell: centre over width."),
    gain("band2_gain_db", "Lift or cut at the centre of the second bell."),
    center("band2_center_hz", 1_000.0, "Centre of the second bell."),
    q("band2_q", "Narrowness of the second bell: centre over width."),
    gain("band3_gain_db", "Lift or cut at the centre of the third bell."),
    center("band3_center_hz", 3_000.0, "Centre of the third bell."),
    q("band3_q", "Narrowness of the third bell: centre over width."),
    gain("high_gain_db", "Lift or cut of everything above high_center_hz."),
    center("high_center_hz", 8_000.0, "Where the high shelf reaches half of its gain in dB."),
    gain("output_gain_db", "Level of the whole output, as to make up for what the bands add."),
];

/// What `eq` is.
pub static INFO: Info = Info {
    name: "eq",
    doc: "Five-band equaliser: low shelf, three bells, high shelf; every knob can be swept without clicks.",
    params: &PARAMS,
    taps: &[],
    arrays: &[],
};

/// Five second-order sections in series, in float64, with states per channel.
///
/// Gains are smoothed in dB, centres and Qs in octaves. A centre above 0.49 × the sample rate acts
/// as if it stood there. With all gains at 0 dB the output is the input, bit for bit.
pub struct Eq {
    params: Bank<COUNT>,
    /// Knob positions on their way, in dB or log2.
    glides: [Glide; COUNT],
    /// Coefficients of the last sample; at rest, of the next too.
    cells: [Cell; BANDS],
    /// Where this segment ends.
    targets: [Cell; BANDS],
    steps: [Cell; BANDS],
    /// Samples left of a segment; 0 at rest.
    left: usize,
    /// One per pair of channels; a last odd channel has a silent partner.
    states: Vec<States>,
    /// The silent partner: always zeros.
    partner: Vec<f32>,
    /// 0 before `prepare`: nothing glides then.
    sample_rate: f64,
    level: Level,
}

// ---- control ---------------------------------------------------------------------------------

/// A parameter's value in the domain it is smoothed in, and back.
fn to_domain(id: usize, value: f32) -> f64 {
    if PARAMS[id].scale == Scale::Log { f64::from(value).log2() } else { f64::from(value) }
}

impl Eq {
    /// Neutral: all gains 0 dB.
    pub fn new() -> Self {
        Self {
            params: Bank::new(&PARAMS),
            glides: std::array::from_fn(|id| Glide::new(to_domain(id, PARAMS[id].default))),
            cells: Default::default(),
            targets: Default::default(),
            steps: Default::default(),
            left: 0,
            states: Vec::new(),
            partner: Vec::new(),
            sample_rate: 0.0,
            level: Level::Plain,
        }
    }

    /// The 13 parameters of the curve as set, in the order [`response`] takes them.
    pub fn values(&self) -> [f32; SHAPE] {
        std::array::from_fn(|id| self.params.get(id))
    }

    /// Band `b` where the knobs are now.
    fn band(&self, b: usize) -> Band {
        let s = &LAYOUT[b];
        Band {
            shape: s.shape,
            gain_db: self.glides[s.gain].value(),
            center_hz: self.glides[s.center].value().exp2(),
            q: s.q.map_or(SHELF_Q, |id| self.glides[id].value().exp2()),
        }
    }

    /// The section of band `b` where the knobs are now; the last one carries the output gain.
    fn cell(&self, b: usize) -> Cell {
        let cell = self.band(b).cell(self.sample_rate);
        if b + 1 < BANDS { cell } else { cell.scaled(10f64.powf(self.glides[OUTPUT].value() / 20.0)) }
    }
}

impl Default for Eq {
    fn default() -> Self {
        Self::new()
    }
}

impl Processor for Eq {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn prepare(&mut self, spec: &Prepare) -> Result<(), PrepareError> {
        self.sample_rate = spec.sample_rate;
        self.level = Level::detect();
        self.states = vec![States::default(); spec.channels.div_ceil(2)];
        self.partner = vec![0.0; spec.max_block];
        self.reset();
        Ok(())
    }

    fn tail_samples(&self) -> usize {
        bands(&self.values()).iter().map(|b| b.decay_samples(self.sample_rate)).sum::<f64>().ceil() as usize
    }

    fn param(&self, id: usize) -> f32 {
        self.params.get(id)
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(self.params.values_mut())?;
        self.glides.iter_mut().try_for_each(|g| g.state(io))?;
        for cells in [&mut self.cells, &mut self.targets, &mut self.steps] {
            cells.iter_mut().try_for_each(|c| c.state(io))?;
        }
        io.usize(&mut self.left)?;
        let mut pairs = self.states.len();
        io.usize(&mut pairs)?;
        if pairs != self.states.len() {
            return Err(StateError::Mismatch);
        }
        let mut numbers = self.states.iter_mut().flatten().flatten().flat_map(|p| p.0.iter_mut());
        numbers.try_for_each(|v| io.f64(v))
    }

    // ---- audio -------------------------------------------------------------------------------

    fn set_param(&mut self, id: usize, value: f32) {
        let value = self.params.set(id, value);
        if id < COUNT {
            self.glides[id].set(to_domain(id, value), self.params.ramp(id, self.sample_rate));
        }
    }

    fn reset(&mut self) {
        self.glides.iter_mut().for_each(Glide::snap);
        self.cells = std::array::from_fn(|b| self.cell(b));
        self.left = 0;
        self.states.fill(States::default());
    }

    fn process(&mut self, block: &mut Block<'_>) {
        let mut at = 0;
        while at < block.frames() {
            if self.left == 0 && self.glides.iter().any(Glide::is_moving) {
                self.begin_segment();
            }
            let mut n = (block.frames() - at).min(self.partner.len());
            if self.left > 0 {
                n = n.min(self.left);
                self.run::<MOVING>(block.slice(at, at + n));
                self.left -= n;
                if self.left == 0 {
                    self.cells = self.targets;
                }
            } else if self.cells.iter().all(Cell::is_wire) {
                self.run::<NEUTRAL>(block.slice(at, at + n));
            } else {
                self.run::<RESTING>(block.slice(at, at + n));
            }
            at += n;
        }
    }
}

impl Eq {
    /// Moves the knobs on by a segment and aims the coefficients at where they will be.
    fn begin_segment(&mut self) {
        self.targets = self.cells;
        for (b, s) in LAYOUT.iter().enumerate() {
            let mut moves = false;
            let output = (b + 1 == BANDS).then_some(OUTPUT);
            for id in [Some(s.gain), Some(s.center), s.q, output].into_iter().flatten() {
                moves |= self.glides[id].is_moving();
                self.glides[id].advance(SEGMENT);
            }
            if moves {
                self.targets[b] = self.cell(b);
            }
            self.steps[b] = self.cells[b].step_to(&self.targets[b], SEGMENT);
        }
        self.left = SEGMENT;
    }

    fn run<const MODE: u8>(&mut self, mut block: Block<'_>) {
        let frames = block.frames();
        let cells = self.cells;
        let mut channels = block.channels_mut();
        for states in &mut self.states {
            let Some(left) = channels.next() else { break };
            let right = channels.next().unwrap_or(&mut self.partner[..frames]);
            // Every pair of channels walks the same coefficients; the last one's walk is kept.
            self.cells = self.level.run(Span::<MODE> { left, right, states, cells, steps: &self.steps });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise through a busy setting while knobs move.
    fn render(level: Option<Level>) -> Vec<f32> {
        let mut eq = Eq::new();
        for (id, p) in PARAMS.iter().enumerate() {
            eq.set_param(id, p.max * 0.5);
        }
        eq.prepare(&Prepare { sample_rate: 48_000.0, max_block: 256, channels: 2 }).unwrap();
        eq.level = level.unwrap_or(eq.level);
        let mut seed = 1u32;
        let mut out = Vec::new();
        for block in 0..40 {
            let mut x: Vec<f32> = (0..512)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    seed as f32 / u32::MAX as f32 - 0.5
                })
                .collect();
            eq.set_param(block % COUNT, PARAMS[block % COUNT].min);
            eq.process(&mut Block::new(&mut x, 256, 256));
            out.extend(x);
        }
        out
    }

    #[test]
    fn plain_and_detected_instruction_sets_agree() {
        let (a, b) = (render(None), render(Some(Level::Plain)));
        let peak = a.iter().fold(0f32, |m, v| m.max(v.abs()));
        let worst = a.iter().zip(&b).fold(0f32, |m, (x, y)| m.max((x - y).abs()));
        assert!(worst <= 1.2e-7 * peak, "{worst} of {peak}");
    }
}
