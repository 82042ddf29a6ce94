//! Stereo tool: width, balance, polarity, and a filter that takes out a constant offset.

use crate::{Bank, Block, Info, ParamSpec, Prepare, PrepareError, Processor, Smoothed, StateError, StateIo};

// ---- spec ------------------------------------------------------------------------------------

const WIDTH: usize = 0;
const BALANCE: usize = 1;
const INVERT_LEFT: usize = 2;
const INVERT_RIGHT: usize = 3;
const DC_BLOCK: usize = 4;
const COUNT: usize = 5;

/// Corner of the offset filter: -3 dB here, -0.3 dB at 20 Hz.
const DC_CORNER_HZ: f64 = 5.0;

static PARAMS: [ParamSpec; COUNT] = [
    ParamSpec::new("width", "", (0.0, 2.0), 1.0)
        .doc("Stereo width: 0 is mono, 1 unchanged, 2 doubles the difference of left and right."),
    ParamSpec::new("balance", "", (-1.0, 1.0), 0.0)
        .doc("Fades the other side out in a straight line: -1 leaves the left alone, 1 the right."),
    ParamSpec::toggle("invert_left", false).smooth_ms(20.0).doc("Turns the left side's wave upside down."),
    ParamSpec::toggle("invert_right", false).smooth_ms(20.0).doc("Turns the right side's wave upside down."),
    ParamSpec::toggle("dc_block", false).smooth_ms(20.0).doc("Takes out what lies below 5 Hz."),
];

/// What `mix` is.
pub static INFO: Info = Info {
    name: "mix",
    doc: "Stereo width, balance, polarity and DC removal; neutral at its defaults.",
    params: &PARAMS,
    taps: &[],
    arrays: &[],
};

/// Works on pairs of channels (1 and 2, 3 and 4, …), left first: offset filter, polarity, width,
/// balance. Balance is linear and leaves its own side at full level, so the centre is unity. A
/// channel without a partner (mono, or the last of an odd number) has no sides: it follows
/// `dc_block` and `invert_left` only. At the defaults the output is the input, bit for bit.
pub struct Mix {
    params: Bank<COUNT>,
    knobs: Knobs,
    /// The offset of each channel as followed so far.
    offsets: Vec<f64>,
    /// How much of the way to the input the followed offset goes in one sample.
    follow: f64,
    sample_rate: f64,
}

/// Everything that moves, in the order of the parameters; a polarity is 1 or −1.
#[derive(Clone)]
struct Knobs([Smoothed; COUNT]);

/// The knobs at one sample, as what happens to left and right there.
#[derive(Clone, Copy, PartialEq)]
struct Step {
    /// Left output from (left, right) input, right output likewise.
    left: [f32; 2],
    right: [f32; 2],
    /// A lone channel's factor.
    lone: f32,
    /// Share of the offset that is taken out.
    block: f64,
}

impl Step {
    const NEUTRAL: Self = Self { left: [1.0, 0.0], right: [0.0, 1.0], lone: 1.0, block: 0.0 };

    fn new(knobs: [f32; COUNT]) -> Self {
        let (own, other) = (0.5 * (1.0 + knobs[WIDTH]), 0.5 * (1.0 - knobs[WIDTH]));
        let (to_left, to_right) = (1.0 - knobs[BALANCE].max(0.0), 1.0 + knobs[BALANCE].min(0.0));
        let (left, right) = (knobs[INVERT_LEFT], knobs[INVERT_RIGHT]);
        Self {
            left: [to_left * own * left, to_left * other * right],
            right: [to_right * other * left, to_right * own * right],
            lone: left,
            block: f64::from(knobs[DC_BLOCK]),
        }
    }

    fn pair(&self, left: f32, right: f32) -> (f32, f32) {
        let mix = |m: [f32; 2]| m[0] * left + m[1] * right;
        (mix(self.left), mix(self.right))
    }
}

impl Knobs {
    /// The next sample's step.
    fn tick(&mut self) -> Step {
        Step::new(self.0.each_mut().map(Smoothed::tick))
    }

    /// Samples until all knobs rest.
    fn remaining(&self) -> usize {
        self.0.iter().map(Smoothed::remaining).max().unwrap_or(0)
    }
}

/// Takes the offset out of one sample.
fn block_dc(x: f32, offset: &mut f64, follow: f64, share: f64) -> f32 {
    let x = f64::from(x);
    *offset += follow * (x - *offset);
    (x - share * *offset) as f32
}

/// Runs a stretch of one pair, or of a lone channel.
fn run(mut step: impl FnMut() -> Step, x: &mut [f32], y: Option<&mut [f32]>, dc: &mut [f64], follow: f64) {
    let Some(y) = y else {
        for x in x {
            let s = step();
            *x = s.lone * block_dc(*x, &mut dc[0], follow, s.block);
        }
        return;
    };
    for (x, y) in x.iter_mut().zip(y) {
        let s = step();
        let left = block_dc(*x, &mut dc[0], follow, s.block);
        let right = block_dc(*y, &mut dc[1], follow, s.block);
        (*x, *y) = s.pair(left, right);
    }
}

/// The same, at rest and without the offset filter.
fn run_still(s: Step, x: &mut [f32], y: Option<&mut [f32]>) {
    match y {
        None => x.iter_mut().for_each(|x| *x *= s.lone),
        Some(y) => x.iter_mut().zip(y).for_each(|(x, y)| (*x, *y) = s.pair(*x, *y)),
    }
}

/// Calls `f` for every pair of channels and its offsets, and for a lone last channel.
fn for_pairs(
    mut block: Block<'_>,
    offsets: &mut [f64],
    mut f: impl FnMut(&mut [f32], Option<&mut [f32]>, &mut [f64]),
) {
    let mut channels = block.channels_mut();
    for dc in offsets.chunks_mut(2) {
        let Some(left) = channels.next() else { break };
        f(left, channels.next(), dc);
    }
}

// ---- control ---------------------------------------------------------------------------------

/// Where a knob goes for a parameter's value.
fn target(id: usize, value: f32) -> f32 {
    if id == INVERT_LEFT || id == INVERT_RIGHT { 1.0 - 2.0 * value } else { value }
}

impl Mix {
    /// Neutral.
    pub fn new() -> Self {
        let knobs = Knobs(std::array::from_fn(|id| Smoothed::new(target(id, PARAMS[id].default))));
        Self { params: Bank::new(&PARAMS), knobs, offsets: Vec::new(), follow: 0.0, sample_rate: 0.0 }
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self::new()
    }
}

impl Processor for Mix {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn prepare(&mut self, spec: &Prepare) -> Result<(), PrepareError> {
        self.sample_rate = spec.sample_rate;
        self.follow = -(-std::f64::consts::TAU * DC_CORNER_HZ / spec.sample_rate).exp_m1();
        self.offsets = vec![0.0; spec.channels];
        self.reset();
        Ok(())
    }

    fn tail_samples(&self) -> usize {
        let decay = 1000f64.ln() / (std::f64::consts::TAU * DC_CORNER_HZ) * self.sample_rate;
        if self.params.get(DC_BLOCK) > 0.0 { decay.ceil() as usize } else { 0 }
    }

    fn param(&self, id: usize) -> f32 {
        self.params.get(id)
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(self.params.values_mut())?;
        self.knobs.0.iter_mut().try_for_each(|k| k.state(io))?;
        io.f64s(&mut self.offsets)
    }

    // ---- audio -------------------------------------------------------------------------------

    fn set_param(&mut self, id: usize, value: f32) {
        let value = self.params.set(id, value);
        if id < COUNT {
            self.knobs.0[id].set(target(id, value), self.params.ramp(id, self.sample_rate));
        }
    }

    fn reset(&mut self) {
        self.knobs.0.iter_mut().for_each(Smoothed::snap);
        self.offsets.fill(0.0);
    }

    fn process(&mut self, block: &mut Block<'_>) {
        let frames = block.frames();
        let moving = self.knobs.remaining().min(frames);
        let follow = self.follow;
        // Each sample takes one of three ways by the knobs at that sample alone, so that cutting
        // blocks elsewhere changes no bit.
        if moving > 0 {
            let start = self.knobs.clone();
            for_pairs(block.slice(0, moving), &mut self.offsets, |x, y, dc| {
                // Every pair walks the same ramps; the last one's walk is kept.
                self.knobs = start.clone();
                run(|| self.knobs.tick(), x, y, dc, follow);
            });
        }
        if moving < frames {
            let step = self.knobs.tick();
            let rest = block.slice(moving, frames);
            if step.block > 0.0 {
                for_pairs(rest, &mut self.offsets, |x, y, dc| run(|| step, x, y, dc, follow));
                return;
            }
            self.offsets.fill(0.0);
            if step != Step::NEUTRAL {
                for_pairs(rest, &mut self.offsets, |x, y, _| run_still(step, x, y));
            }
        }
    }
}
