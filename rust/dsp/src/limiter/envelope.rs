//! From peaks to a smooth gain that is down in time.
//!
//! Each peak asks for a gain. The smallest request of a window is held, released, and smoothed by
//! two moving averages in a row. The window is as long as the averages together, so when a peak
//! leaves the delay line both averages have seen nothing above its request: the gain is there in
//! time, exactly, and came by a curve without corners.

use crate::{StateError, StateIo};

/// Gain 1 in the whole numbers that are averaged: sums of them never drift, and gains of 1
/// average to 1 exactly. Two averages of 960 still fit float64.
const ONE: f64 = (1u64 << 31) as f64;

/// Samples on both sides of a peak for which the gain is held at its request.
const MARGIN: usize = 2;

/// A release aims this far past 1, so that it arrives.
const OVERSHOOT: f64 = 1e-3;

/// The smallest of the last `window` values, as a queue of those that can still become it.
struct SlidingMin {
    values: Vec<f64>,
    times: Vec<u64>,
    head: usize,
    len: usize,
    now: u64,
}

impl SlidingMin {
    fn new(window: usize) -> Self {
        Self { values: vec![1.0; window], times: vec![0; window], head: 0, len: 0, now: 0 }
    }

    fn clear(&mut self) {
        (self.head, self.len, self.now) = (0, 0, 0);
    }

    fn at(&self, i: usize) -> usize {
        let i = self.head + i;
        if i >= self.values.len() { i - self.values.len() } else { i }
    }

    fn push(&mut self, value: f64) -> f64 {
        let window = self.values.len();
        while self.len > 0 && self.values[self.at(self.len - 1)] >= value {
            self.len -= 1;
        }
        if self.len > 0 && self.now - self.times[self.head] >= window as u64 {
            self.head = self.at(1);
            self.len -= 1;
        }
        let slot = self.at(self.len);
        (self.values[slot], self.times[slot]) = (value, self.now);
        self.len += 1;
        self.now += 1;
        self.values[self.head]
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f64s(&mut self.values)?;
        io.u64s(&mut self.times)?;
        io.usize(&mut self.head)?;
        io.usize(&mut self.len)?;
        io.u64(&mut self.now)
    }
}

/// The sum of the last `length` whole numbers.
struct MovingSum {
    ring: Vec<u64>,
    at: usize,
    sum: u64,
}

impl MovingSum {
    fn new(length: usize) -> Self {
        Self { ring: vec![0; length], at: 0, sum: 0 }
    }

    fn fill(&mut self, value: u64) {
        self.ring.fill(value);
        self.at = 0;
        self.sum = value * self.ring.len() as u64;
    }

    fn push(&mut self, value: u64) -> u64 {
        let old = std::mem::replace(&mut self.ring[self.at], value);
        self.at = if self.at + 1 == self.ring.len() { 0 } else { self.at + 1 };
        self.sum = self.sum - old + value;
        self.sum
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.u64s(&mut self.ring)?;
        io.usize(&mut self.at)?;
        io.u64(&mut self.sum)
    }
}

/// Turns requests into the gain.
pub struct Envelope {
    held: SlidingMin,
    released: f64,
    first: MovingSum,
    second: MovingSum,
    /// 1 over the weight of both averages.
    scale: f64,
    /// Samples since the gain was last asked to be, or was, below 1; counted up to `memory`.
    quiet: usize,
    /// After so many quiet samples everything in here is at 1.
    memory: usize,
}

impl Envelope {
    /// For a gain that comes `delay` samples after the peak's request. Thread: control.
    pub fn new(delay: usize) -> Self {
        let margin = MARGIN.min(delay);
        let smooth = delay - margin + 1;
        let (a, b) = (smooth.div_ceil(2), smooth + 1 - smooth.div_ceil(2));
        let window = smooth + 1 + 2 * margin;
        let mut new = Self {
            held: SlidingMin::new(window),
            released: 1.0,
            first: MovingSum::new(a),
            second: MovingSum::new(b),
            scale: 1.0 / (a as f64 * b as f64 * ONE),
            quiet: 0,
            memory: window + smooth,
        };
        new.clear();
        new
    }

    /// At gain 1. Thread: audio.
    pub fn clear(&mut self) {
        self.held.clear();
        self.released = 1.0;
        self.first.fill(ONE as u64);
        self.second.fill(ONE as u64 * self.first.ring.len() as u64);
        self.quiet = self.memory;
    }

    /// Whether requests of 1 change nothing in here and give a gain of 1: they need not be sent.
    pub fn is_open(&self) -> bool {
        self.quiet >= self.memory
    }

    /// The gain, `delay` samples late, for a request of 0..1. `release`: share of the way back to
    /// 1 that is gone in one sample. Thread: audio. Never allocates, locks or logs.
    pub fn tick(&mut self, request: f64, release: f64) -> f32 {
        let held = self.held.push(request);
        let back = self.released + (1.0 + OVERSHOOT - self.released) * release;
        self.released = held.min(back.min(1.0));
        self.quiet = if self.released < 1.0 { 0 } else { (self.quiet + 1).min(self.memory) };
        // Rounding down keeps the promise.
        let sum = self.first.push((self.released * ONE) as u64);
        (self.second.push(sum) as f64 * self.scale) as f32
    }

    /// Thread: control.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        self.held.state(io)?;
        io.f64(&mut self.released)?;
        self.first.state(io)?;
        self.second.state(io)?;
        io.usize(&mut self.quiet)
    }
}
