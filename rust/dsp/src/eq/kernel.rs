//! The inner loop: five state variable filters in series, two channels side by side, in float64.
//!
//! One sample of a section, input x, states s1 (band-pass) and s2 (low-pass):
//!
//! ```text
//! u   = x − s2
//! y   = direct·x + from_band·s1 + from_low·s2
//! s1' = keep·s1 + turn·u
//! s2' = s2 + turn·s1 + lift·u
//! ```
//!
//! This is the trapezoidal state variable filter with its implicit loop solved. Why not a direct
//! form: its states keep their size when the centre moves, where a direct form's would jump, and
//! without input no such step makes s1² + s2² larger. That holds for any mix of two sets of
//! coefficients too (a mean of contractions is one), so coefficients may be interpolated.

use crate::simd::Kernel;
use crate::{StateError, StateIo};
use std::ops::{Add, Sub};

use super::design::BANDS;

/// Coefficients of one section; see the module's equations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    pub keep: f64,
    pub turn: f64,
    pub lift: f64,
    pub direct: f64,
    pub from_band: f64,
    pub from_low: f64,
}

impl Cell {
    /// The output is the input, whatever the states hold.
    pub fn is_wire(&self) -> bool {
        self.direct == 1.0 && self.from_band == 0.0 && self.from_low == 0.0
    }

    /// The same section with its output multiplied; its states do not change.
    pub fn scaled(self, gain: f64) -> Self {
        Self {
            direct: gain * self.direct,
            from_band: gain * self.from_band,
            from_low: gain * self.from_low,
            ..self
        }
    }

    /// The step that leads from here to `target` in `steps` additions.
    pub fn step_to(&self, target: &Self, steps: usize) -> Self {
        let share = 1.0 / steps as f64;
        Self {
            keep: (target.keep - self.keep) * share,
            turn: (target.turn - self.turn) * share,
            lift: (target.lift - self.lift) * share,
            direct: (target.direct - self.direct) * share,
            from_band: (target.from_band - self.from_band) * share,
            from_low: (target.from_low - self.from_low) * share,
        }
    }

    #[inline(always)]
    fn advance(&mut self, step: &Self) {
        self.keep += step.keep;
        self.turn += step.turn;
        self.lift += step.lift;
        self.direct += step.direct;
        self.from_band += step.from_band;
        self.from_low += step.from_low;
    }

    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f64(&mut self.keep)?;
        io.f64(&mut self.turn)?;
        io.f64(&mut self.lift)?;
        io.f64(&mut self.direct)?;
        io.f64(&mut self.from_band)?;
        io.f64(&mut self.from_low)
    }
}

/// The same number of two channels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(16))]
pub struct Pair(pub [f64; 2]);

impl Pair {
    /// `self * b + c`; fused if `FMA`.
    #[inline(always)]
    fn mul_add<const FMA: bool>(self, b: f64, c: Self) -> Self {
        if FMA {
            Self([self.0[0].mul_add(b, c.0[0]), self.0[1].mul_add(b, c.0[1])])
        } else {
            Self([self.0[0] * b + c.0[0], self.0[1] * b + c.0[1]])
        }
    }

    #[inline(always)]
    fn scale(self, b: f64) -> Self {
        Self([self.0[0] * b, self.0[1] * b])
    }
}

impl Add for Pair {
    type Output = Self;
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self([self.0[0] + b.0[0], self.0[1] + b.0[1]])
    }
}

impl Sub for Pair {
    type Output = Self;
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Self([self.0[0] - b.0[0], self.0[1] - b.0[1]])
    }
}

/// s1 and s2 of every section, of two channels.
pub type States = [[Pair; 2]; BANDS];

/// Coefficients hold still, and so does a neutral equaliser's sound.
pub const NEUTRAL: u8 = 0;
/// Coefficients hold still.
pub const RESTING: u8 = 1;
/// Coefficients take one step per sample.
pub const MOVING: u8 = 2;

/// A stretch of two channels. Returns the coefficients after it.
///
/// A neutral equaliser runs as well, though it writes nothing: a band that then begins to move
/// continues as if it had been there all the time, and the price of a block does not depend on
/// what is played or set.
pub struct Span<'a, const MODE: u8> {
    pub left: &'a mut [f32],
    pub right: &'a mut [f32],
    pub states: &'a mut States,
    pub cells: [Cell; BANDS],
    pub steps: &'a [Cell; BANDS],
}

impl<const MODE: u8> Kernel for Span<'_, MODE> {
    type Output = [Cell; BANDS];

    #[inline(always)]
    fn run<const FMA: bool>(self) -> [Cell; BANDS] {
        let mut cells = self.cells;
        let mut states = *self.states;
        for (left, right) in self.left.iter_mut().zip(self.right.iter_mut()) {
            let mut x = Pair([f64::from(*left), f64::from(*right)]);
            for b in 0..BANDS {
                let c = &mut cells[b];
                if MODE == MOVING {
                    c.advance(&self.steps[b]);
                }
                let [s1, s2] = states[b];
                let u = x - s2;
                states[b] = [
                    u.mul_add::<FMA>(c.turn, s1.scale(c.keep)),
                    u.mul_add::<FMA>(c.lift, s1.mul_add::<FMA>(c.turn, s2)),
                ];
                if MODE != NEUTRAL {
                    let tail = s2.mul_add::<FMA>(c.from_low, s1.scale(c.from_band));
                    x = x.mul_add::<FMA>(c.direct, tail);
                }
            }
            if MODE != NEUTRAL {
                *left = x.0[0] as f32;
                *right = x.0[1] as f32;
            }
        }
        *self.states = states;
        cells
    }
}
