//! Autoregression by Burg's method, one order at a time, so that no block pays for all of it.
//!
//! Burg (1975) chooses each reflection coefficient to make forward and backward prediction errors
//! together smallest:
//!
//! ```text
//! k = 2 Σ w f b / Σ w (f² + b²),   f' = f − k b,   b' = b − k f,   a' = [a − k reverse(a), k]
//! ```
//!
//! |k| ≤ 1 for any weights w ≥ 0 (f b is never more than half of f² + b²), so the model is stable.
//! The weights rise in a straight line towards the end of the window: what was just heard counts
//! most for what comes next.

use crate::simd::{F32x8, Kernel, LANES, Level};
use crate::{StateError, StateIo};

use super::line::Lines;

/// Errors this far below the signal's power are rounding: no order after them is worth fitting.
const RESIDUE: f64 = 1e-12;
/// Sums kept apart in the inner loop.
const SUMS: usize = 4;
/// Below this peak a window is silent.
const SILENT: f32 = 1e-20;
/// Largest |k|: keeps poles off the unit circle when a sum is rounded.
const LIMIT: f64 = 0.999_999;

/// Σ w f b and Σ w (f² + b²), weights `first`, `first + 1`, … or all 1.
struct Sums<'a> {
    f: &'a [f32],
    b: &'a [f32],
    first: f32,
    recent: bool,
}

/// One vector's part of the sums.
#[inline(always)]
fn add<const FMA: bool>(
    f: &[f32; LANES],
    b: &[f32; LANES],
    weight: Option<F32x8>,
    cross: &mut F32x8,
    power: &mut F32x8,
) {
    let (f, b) = (F32x8(*f), F32x8(*b));
    let square = b.mul_add::<FMA>(b, f * f);
    let (wf, square) = match weight {
        Some(w) => (w * f, w * square),
        None => (f, square),
    };
    *cross = wf.mul_add::<FMA>(b, *cross);
    *power = *power + square;
}

impl Kernel for Sums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<const FMA: bool>(self) -> (f64, f64) {
        let (mut cross, mut power) = (0.0, 0.0);
        let mut at = 0;
        // Parts of 64 vectors, so that float32 sums stay short.
        for (f, b) in self.f.chunks(64 * LANES).zip(self.b.chunks(64 * LANES)) {
            let (fs, rest_f) = f.as_chunks::<LANES>();
            let (bs, rest_b) = b.as_chunks::<LANES>();
            // Four sums of each kind, since one would wait for itself.
            let (mut c, mut p) = ([F32x8::ZERO; SUMS], [F32x8::ZERO; SUMS]);
            let mut w = F32x8(std::array::from_fn(|i| self.first + (at + i) as f32));
            let (f4, f_last) = fs.as_chunks::<SUMS>();
            let (b4, b_last) = bs.as_chunks::<SUMS>();
            for (f, b) in f4.iter().zip(b4) {
                for i in 0..SUMS {
                    let w = self.recent.then_some(w + F32x8::splat((i * LANES) as f32));
                    add::<FMA>(&f[i], &b[i], w, &mut c[i], &mut p[i]);
                }
                w = w + F32x8::splat((SUMS * LANES) as f32);
            }
            for (f, b) in f_last.iter().zip(b_last) {
                add::<FMA>(f, b, self.recent.then_some(w), &mut c[0], &mut p[0]);
                w = w + F32x8::splat(LANES as f32);
            }
            let done = LANES * fs.len();
            for (i, (&f, &b)) in rest_f.iter().zip(rest_b).enumerate() {
                let w = if self.recent { self.first + (at + done + i) as f32 } else { 1.0 };
                cross += f64::from(w * f * b);
                power += f64::from(w * (f * f + b * b));
            }
            cross += f64::from(((c[0] + c[1]) + (c[2] + c[3])).sum());
            power += f64::from(((p[0] + p[1]) + (p[2] + p[3])).sum());
            at += f.len();
        }
        (cross, power)
    }
}

/// f − k b and b − k f, in place.
struct Update<'a> {
    f: &'a mut [f32],
    b: &'a mut [f32],
    k: f32,
}

impl Kernel for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let k = F32x8::splat(self.k);
        let (fs, rest_f) = self.f.as_chunks_mut::<LANES>();
        let (bs, rest_b) = self.b.as_chunks_mut::<LANES>();
        for (f, b) in fs.iter_mut().zip(bs) {
            let (x, y) = (F32x8(*f), F32x8(*b));
            *f = k.neg_mul_add::<FMA>(y, x).0;
            *b = k.neg_mul_add::<FMA>(x, y).0;
        }
        for (f, b) in rest_f.iter_mut().zip(rest_b) {
            (*f, *b) = (*f - self.k * *b, *b - self.k * *f);
        }
    }
}

/// a − k reverse(a), for the first half, and its mirror in the second.
struct Mirror<'a> {
    a: &'a mut [f64],
    k: f64,
}

impl Kernel for Mirror<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        const WIDE: usize = 4;
        let k = self.k;
        let half = self.a.len() / 2;
        let odd = self.a.len() % 2;
        let (front, back) = self.a.split_at_mut(half + odd);
        let (fronts, rest_front) = front[..half].as_chunks_mut::<WIDE>();
        let (rest_back, backs) = back.as_rchunks_mut::<WIDE>();
        for (x, y) in fronts.iter_mut().zip(backs.iter_mut().rev()) {
            let (a, b) = (*x, [y[3], y[2], y[1], y[0]]);
            let mut mirrored = [0.0; WIDE];
            for i in 0..WIDE {
                x[i] = a[i] - k * b[i];
                mirrored[i] = b[i] - k * a[i];
            }
            *y = [mirrored[3], mirrored[2], mirrored[1], mirrored[0]];
        }
        for (x, y) in rest_front.iter_mut().zip(rest_back.iter_mut().rev()) {
            (*x, *y) = (*x - k * *y, *y - k * *x);
        }
        if odd == 1 {
            front[half] *= 1.0 - k;
        }
    }
}

/// How long a model looks back and how fast it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Coefficients.
    pub order: usize,
    /// Samples looked at.
    pub window: usize,
    /// Samples over which the work is spread.
    pub work: usize,
    /// The same at the start of a loss.
    pub hurry: usize,
    /// Whether recent samples count more.
    pub recent: bool,
}

/// A fit under way, of one channel.
pub struct Fit {
    plan: Plan,
    forward: Vec<f32>,
    backward: Vec<f32>,
    /// x[n] = Σ a[i] x[n − 1 − i].
    coefficients: Vec<f64>,
    done: usize,
    /// Power below which the fit ends; infinite once it has.
    floor: f64,
}

impl Fit {
    /// Thread: control. Allocates.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            forward: vec![0.0; plan.window],
            backward: vec![0.0; plan.window],
            coefficients: vec![0.0; plan.order],
            done: 0,
            floor: f64::INFINITY,
        }
    }

    /// Thread: audio.
    pub fn clear(&mut self) {
        self.forward.fill(0.0);
        self.backward.fill(0.0);
        self.coefficients.fill(0.0);
        self.done = 0;
        self.floor = f64::INFINITY;
    }

    /// Takes the window that ends before sample `end`. Thread: audio. Never allocates, locks or logs.
    pub fn begin(&mut self, lines: &Lines, channel: usize, end: u64) {
        lines.read(channel, end - self.plan.window as u64, &mut self.forward);
        let peak = self.forward.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        if peak > SILENT && peak.is_finite() {
            // Squares of what is very small or large would leave float32.
            let scale = 1.0 / peak;
            self.forward.iter_mut().for_each(|x| *x *= scale);
            self.floor = 0.0;
        } else {
            self.floor = f64::INFINITY;
        }
        self.backward.copy_from_slice(&self.forward);
        self.coefficients.fill(0.0);
        self.done = 0;
    }

    /// Fits the next order. Thread: audio. Never allocates, locks or logs.
    pub fn step(&mut self, level: Level) {
        let m = self.done;
        if m == self.plan.order {
            return;
        }
        self.done += 1;
        if self.floor == f64::INFINITY {
            return;
        }
        let n = self.plan.window - m - 1;
        let f = &mut self.forward[m + 1..];
        let b = &mut self.backward[..n];
        let (cross, power) = level.run(Sums { f, b, first: (m + 1) as f32, recent: self.plan.recent });
        if m == 0 {
            self.floor = RESIDUE * power;
        }
        let k = (2.0 * cross / power).clamp(-LIMIT, LIMIT);
        if power <= self.floor || !k.is_finite() {
            self.floor = f64::INFINITY;
            return;
        }
        level.run(Update { f, b, k: k as f32 });
        level.run(Mirror { a: &mut self.coefficients[..m], k });
        self.coefficients[m] = k;
    }

    /// The coefficients found so far, newest sample first.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// Saves or restores.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.forward)?;
        io.f32s(&mut self.backward)?;
        io.f64s(&mut self.coefficients)?;
        io.usize(&mut self.done)?;
        io.f64(&mut self.floor)
    }
}

/// A model of all channels that is made again and again while sound comes.
pub struct Model {
    plan: Plan,
    fits: Vec<Fit>,
    /// Per channel: the newest whole model.
    ready: Vec<Vec<f64>>,
    /// Where its window ended.
    ready_end: u64,
    /// Samples since the fit began; 0: none is under way.
    clock: usize,
    /// Samples it takes.
    pace: usize,
    /// Where its window ends.
    end: u64,
    /// Nothing but sound came since.
    clean: bool,
}

impl Model {
    /// Thread: control. Allocates.
    pub fn new(plan: Plan, channels: usize) -> Self {
        Self {
            plan,
            fits: (0..channels).map(|_| Fit::new(plan)).collect(),
            ready: vec![vec![0.0; plan.order]; channels],
            ready_end: 0,
            clock: 0,
            pace: plan.work,
            end: 0,
            clean: false,
        }
    }

    /// Thread: audio.
    pub fn clear(&mut self) {
        self.fits.iter_mut().for_each(Fit::clear);
        self.ready.iter_mut().for_each(|a| a.fill(0.0));
        (self.ready_end, self.end, self.clock, self.pace) = (0, 0, 0, self.plan.work);
        self.clean = false;
    }

    fn begin(&mut self, lines: &Lines, end: u64, pace: usize, clean: bool) {
        self.fits.iter_mut().enumerate().for_each(|(c, fit)| fit.begin(lines, c, end));
        (self.end, self.clock, self.pace, self.clean) = (end, 1, pace, clean);
    }

    /// A loss begins at sample `end`: what lies before it is fitted as fast as the plan allows; a fit
    /// under way is dropped. Thread: audio. Never allocates, locks or logs.
    pub fn hurry(&mut self, lines: &Lines, end: u64) {
        let under_way = self.clock > 0 && self.end == end;
        if !under_way && self.ready_end != end {
            self.begin(lines, end, self.plan.hurry, false);
        }
    }

    /// One sample's share of the work. `end`: where a new fit may end, if one may start; `clean`: all
    /// that came is sound. True when a new model is ready. Thread: audio. Never allocates, locks or logs.
    pub fn tick(&mut self, lines: &Lines, end: Option<u64>, clean: bool, level: Level) -> bool {
        if self.clock == 0 {
            // A model of what lies before a loss is not given up for an older one.
            let Some(end) = end.filter(|&end| end > self.ready_end) else { return false };
            self.begin(lines, end, self.plan.work, clean);
        }
        self.clean &= clean;
        let orders = |clock: usize| self.plan.order * clock / self.pace;
        let steps = orders(self.clock) - orders(self.clock - 1);
        for fit in &mut self.fits {
            (0..steps).for_each(|_| fit.step(level));
        }
        self.clock += 1;
        let done = self.clock > self.pace;
        if done {
            for (ready, fit) in self.ready.iter_mut().zip(&self.fits) {
                ready.copy_from_slice(fit.coefficients());
            }
            self.ready_end = self.end;
            self.clock = 0;
        }
        done
    }

    /// The newest whole model of a channel.
    pub fn ready(&self, channel: usize) -> &[f64] {
        &self.ready[channel]
    }

    /// Where the window of the newest whole model ended.
    pub fn ready_end(&self) -> u64 {
        self.ready_end
    }

    /// Whether nothing but sound came since the window of the newest whole model ended.
    pub fn can_be_judged(&self) -> bool {
        self.clean
    }

    /// Saves or restores.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        self.fits.iter_mut().try_for_each(|f| f.state(io))?;
        self.ready.iter_mut().try_for_each(|a| io.f64s(a))?;
        io.u64(&mut self.ready_end)?;
        io.usize(&mut self.clock)?;
        io.usize(&mut self.pace)?;
        io.u64(&mut self.end)?;
        io.bool(&mut self.clean)
    }
}
