//! Gain: the smallest processor, and the one to copy when writing a new one.

use crate::{Bank, Block, Info, ParamSpec, Prepare, PrepareError, Processor, Smoothed, StateError, StateIo};

// ---- spec ------------------------------------------------------------------------------------

const GAIN_DB: usize = 0;

static PARAMS: [ParamSpec; 1] =
    [ParamSpec::new("gain_db", "dB", (-120.0, 24.0), 0.0).doc("Level change; -120 dB is silence.")];

/// What `gain` is.
pub static INFO: Info =
    Info { name: "gain", doc: "Changes the level.", params: &PARAMS, taps: &[], arrays: &[] };

/// Multiplies every channel by one smoothed factor.
pub struct Gain {
    params: Bank<1>,
    factor: Smoothed,
    ramp: usize,
}

/// dB to amplitude; the bottom of the range is true silence.
fn amplitude(gain_db: f32) -> f32 {
    if gain_db <= PARAMS[GAIN_DB].min { 0.0 } else { 10f32.powf(gain_db * 0.05) }
}

// ---- control ---------------------------------------------------------------------------------

impl Gain {
    /// At 0 dB.
    pub fn new() -> Self {
        Self { params: Bank::new(&PARAMS), factor: Smoothed::new(1.0), ramp: 0 }
    }
}

impl Default for Gain {
    fn default() -> Self {
        Self::new()
    }
}

impl Processor for Gain {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn prepare(&mut self, spec: &Prepare) -> Result<(), PrepareError> {
        self.ramp = self.params.ramp(GAIN_DB, spec.sample_rate);
        self.factor.snap();
        Ok(())
    }

    fn param(&self, id: usize) -> f32 {
        self.params.get(id)
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(self.params.values_mut())?;
        self.factor.state(io)
    }

    // ---- audio -------------------------------------------------------------------------------

    fn set_param(&mut self, id: usize, value: f32) {
        let v = self.params.set(id, value);
        if id == GAIN_DB {
            self.factor.set(amplitude(v), self.ramp);
        }
    }

    fn reset(&mut self) {
        self.factor.snap();
    }

    fn process(&mut self, block: &mut Block<'_>) {
        self.factor.scale(block);
    }
}
