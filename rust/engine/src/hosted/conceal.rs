//! What is heard while a hop is missing: the last sound, backwards, on its way to silence or the
//! input; and the way back.

use cspace_dsp::{StateError, StateIo};

/// From the last sound to the stand-in.
const AWAY_SECONDS: f64 = 0.010;
/// From the stand-in to sound that is there again.
const BACK_SECONDS: f64 = 0.005;

/// Joins hops and gaps without a step. Works on planar parts of the stream.
pub(super) struct Conceal {
    /// The last `2 · away` samples heard, per channel. Twice, since it is read backwards from where
    /// the gap began while it is written forwards.
    history: Vec<f32>,
    length: usize,
    at: usize,
    away: usize,
    back: f32,
    /// Samples since the last whole sound; 0: no gap.
    gap: usize,
    /// Where the gap began in the history.
    anchor: usize,
    /// How much of the sound that is there again is heard.
    returned: f32,
    /// How much of the input is in the stand-in.
    dry: f32,
}

impl Conceal {
    /// Thread: control. Allocates.
    pub fn new(channels: usize, sample_rate: f64) -> Self {
        let away = ((AWAY_SECONDS * sample_rate) as usize).max(1);
        Self {
            history: vec![0.0; channels * 2 * away],
            length: 2 * away,
            at: 0,
            away,
            back: (1.0 / (BACK_SECONDS * sample_rate)) as f32,
            gap: 0,
            anchor: 0,
            returned: 0.0,
            dry: 0.0,
        }
    }

    /// Thread: audio.
    pub fn reset(&mut self) {
        self.history.fill(0.0);
        self.at = 0;
        self.gap = 0;
        self.returned = 0.0;
        self.dry = 0.0;
    }

    /// Turns `sound` (channel c at `c · stride ..`, `frames` of each) into what is heard. With
    /// `there` it holds the model's samples, without it is written over. `dry` is laid out alike;
    /// `to_dry` chooses it over silence. Thread: audio. Never allocates, locks or logs.
    pub fn process(
        &mut self,
        sound: &mut [f32],
        dry: &[f32],
        stride: usize,
        frames: usize,
        there: bool,
        to_dry: bool,
    ) {
        if !there && (self.gap == 0 || self.returned > 0.0) {
            // A gap begins, perhaps on the way back from one: from what was heard last.
            self.gap = 0;
            self.anchor = self.at + self.length - 1;
            self.returned = 0.0;
            self.dry = f32::from(to_dry);
        }
        // Within a gap one stand-in gives way to the other as slowly as sound does.
        let step = if to_dry { 1.0 } else { -1.0 } / self.away as f32;
        let before = (self.gap, self.returned, self.dry);
        let mut after = before;
        let lanes = sound.chunks_mut(stride).zip(dry.chunks(stride));
        for ((sound, dry), history) in lanes.zip(self.history.chunks_exact_mut(self.length)) {
            let (mut gap, mut returned, mut share) = before;
            let mut at = self.at;
            for (x, &d) in sound[..frames].iter_mut().zip(dry) {
                if !there || gap > 0 {
                    share = (share + step).clamp(0.0, 1.0);
                    let target = share * d;
                    let mut stand_in = target;
                    if gap < self.away {
                        let last = history[(self.anchor - gap) % self.length];
                        stand_in += (last - target) * (1.0 - gap as f32 / self.away as f32);
                    }
                    gap += 1;
                    if there {
                        returned += self.back;
                        *x = stand_in + (*x - stand_in) * returned.min(1.0);
                        if returned >= 1.0 {
                            (gap, returned) = (0, 0.0);
                        }
                    } else {
                        *x = stand_in;
                    }
                }
                history[at] = *x;
                at = if at + 1 == self.length { 0 } else { at + 1 };
            }
            after = (gap, returned, share);
        }
        (self.gap, self.returned, self.dry) = after;
        self.at = (self.at + frames) % self.length;
    }

    /// Saves or restores.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.history)?;
        io.usize(&mut self.at)?;
        io.usize(&mut self.gap)?;
        io.usize(&mut self.anchor)?;
        io.f32(&mut self.returned)?;
        io.f32(&mut self.dry)
    }
}
