//! The lag at which sound resembles itself, looked for a few lags at a time.

use crate::simd::{F32x8, Kernel, LANES, Level};
use crate::{StateError, StateIo};

use super::line::Lines;

/// Lags looked at: 400 Hz down to 50 Hz.
const SHORTEST_SECONDS: f64 = 0.0025;
const LONGEST_SECONDS: f64 = 0.020;
/// What is compared.
const WINDOW_SECONDS: f64 = 0.010;
/// Time for one search.
const WORK_SECONDS: f64 = 0.005;

/// Σ x y and Σ y².
struct Likeness<'a> {
    x: &'a [f32],
    y: &'a [f32],
}

impl Kernel for Likeness<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<const FMA: bool>(self) -> (f32, f32) {
        let (mut cross, mut power) = (F32x8::ZERO, F32x8::ZERO);
        for (x, y) in self.x.as_chunks::<LANES>().0.iter().zip(self.y.as_chunks::<LANES>().0) {
            let (x, y) = (F32x8(*x), F32x8(*y));
            cross = x.mul_add::<FMA>(y, cross);
            power = y.mul_add::<FMA>(y, power);
        }
        (cross.sum(), power.sum())
    }
}

/// Searches again and again while sound comes; one lag for all channels, by their mean.
pub struct Period {
    shortest: usize,
    longest: usize,
    window: usize,
    work: usize,
    /// The mean of all channels before the search began: `longest + window` samples.
    sound: Vec<f32>,
    clock: usize,
    best: f32,
    best_lag: usize,
    found: usize,
}

impl Period {
    /// Thread: control. Allocates.
    pub fn new(sample_rate: f64) -> Self {
        let samples = |s: f64| (s * sample_rate).round() as usize;
        let window = samples(WINDOW_SECONDS).next_multiple_of(LANES);
        let longest = samples(LONGEST_SECONDS);
        Self {
            shortest: samples(SHORTEST_SECONDS),
            longest,
            window,
            work: samples(WORK_SECONDS),
            sound: vec![0.0; longest + window],
            clock: 0,
            best: f32::NEG_INFINITY,
            best_lag: longest,
            found: longest,
        }
    }

    /// Samples of the past it needs.
    pub fn reach(&self) -> usize {
        self.sound.len()
    }

    /// Thread: audio.
    pub fn clear(&mut self) {
        self.sound.fill(0.0);
        self.clock = 0;
        self.best = f32::NEG_INFINITY;
        (self.best_lag, self.found) = (self.longest, self.longest);
    }

    /// The lag of the last whole search, in samples.
    pub fn lag(&self) -> usize {
        self.found
    }

    /// One sample's share of the work; as [`super::burg::Model::tick`].
    pub fn tick(&mut self, lines: &Lines, channels: usize, end: Option<u64>, level: Level) {
        if self.clock == 0 {
            let Some(end) = end else { return };
            let from = end - self.sound.len() as u64;
            for (i, x) in self.sound.iter_mut().enumerate() {
                *x = (0..channels).map(|c| lines.at(c, from + i as u64)).sum();
            }
            self.clock = 1;
            self.best = f32::NEG_INFINITY;
        }
        let lags = self.longest - self.shortest + 1;
        let (from, to) = (lags * (self.clock - 1) / self.work, lags * self.clock / self.work);
        let x = &self.sound[self.longest..];
        for lag in self.shortest + from..self.shortest + to {
            let y = &self.sound[self.longest - lag..][..self.window];
            let (cross, power) = level.run(Likeness { x, y });
            let score = cross / (power + f32::MIN_POSITIVE).sqrt();
            if score > self.best {
                (self.best, self.best_lag) = (score, lag);
            }
        }
        self.clock += 1;
        if self.clock > self.work {
            self.found = if self.best > 0.0 { self.best_lag } else { self.longest };
            self.clock = 0;
        }
    }

    /// Saves or restores.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.sound)?;
        io.usize(&mut self.clock)?;
        io.f32(&mut self.best)?;
        io.usize(&mut self.best_lag)?;
        io.usize(&mut self.found)
    }
}
