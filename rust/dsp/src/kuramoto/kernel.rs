//! The inner loop: one pass over all oscillators per sample.
//!
//! Sample n begins with the sines and cosines of θ(n) and their mean Z(n) at hand. The pass puts
//! out sample n, moves every phase by its step and its pull, all from the same Z(n) (simultaneous
//! explicit step), takes the new sines and cosines, and sums them to Z(n+1).

use super::coupling::Coupling;
use super::ops::{Ops, Portable};
use super::phase::Turns;
use crate::simd::{F32x8, Kernel, Level};

/// Samples between two control updates, counted from `reset`.
pub(super) const GRID: usize = 32;
/// Most harmonics an oscillator can have.
pub(super) const HARMONICS: usize = 16;

/// What the pass needs of eight oscillators.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Osc {
    pub phase: Turns,
    /// Phase advance per sample, whole units; the fraction is settled on the grid.
    pub step: Turns,
    pub sin: F32x8,
    pub cos: F32x8,
    /// Level to the left and right channel.
    pub left: F32x8,
    pub right: F32x8,
}

/// Change of the levels per sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ramp {
    pub left: F32x8,
    pub right: F32x8,
}

/// Levels of harmonics 2, 3, … relative to the first, and their change per sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Partials {
    pub level: [F32x8; HARMONICS - 1],
    pub ramp: [F32x8; HARMONICS - 1],
}

/// Eight damped resonators, one at each oscillator's frequency: z += μ z + j·drive·x.
/// An input A sin φ at the centre gives z = A e^{jφ}.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Band {
    pub re: F32x8,
    pub im: F32x8,
    pub mu_re: F32x8,
    pub mu_im: F32x8,
    pub drive: F32x8,
    /// w |z|, the level above the floor.
    pub heard: F32x8,
    /// w³ / |z|: the pull is grip times the distance of the phasor z from the oscillator's ray.
    pub grip: F32x8,
}

/// What pulls eight oscillators when a matrix couples them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field {
    pub re: F32x8,
    pub im: F32x8,
}

/// A complex number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Complex {
    pub re: f32,
    pub im: f32,
}

/// How the oscillators are pulled, constant between two grid points.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pull {
    /// Coupling in phase units per sample, turned by minus the phase lag.
    pub coupling: Complex,
    /// Entrainment in phase units per sample.
    pub entrain: f32,
    /// Softening of the band level: w = |z| / √(|z|² + floor2) goes as w³ into the pull.
    pub floor2: f32,
    /// Level factor of an oscillator: `follow0 + follow1 w |z|`, and its change per sample.
    pub follow: [f32; 2],
    pub follow_ramp: [f32; 2],
}

/// One run of up to [`GRID`] samples between two grid points.
pub(super) struct Pass<'a> {
    pub osc: &'a mut [Osc],
    pub ramps: &'a [Ramp],
    pub partials: &'a [Partials],
    pub bands: &'a mut [Band],
    pub field: &'a mut [Field],
    pub coupling: &'a Coupling,
    /// 1 for the lanes of the last vector that are oscillators, 0 for padding.
    pub last: F32x8,
    pub count: usize,
    pub pull: Pull,
    /// Harmonics in use, at least 1.
    pub harmonics: usize,
    /// Position of the first sample between its grid points.
    pub offset: usize,
    pub input: &'a [f32],
    pub left: &'a mut [f32],
    pub right: &'a mut [f32],
    /// Order parameter of the coming sample.
    pub z: &'a mut Complex,
    /// Sum of |Z|² over the samples put out.
    pub r2: &'a mut f32,
}

/// A loop over [`Ops`], to be compiled for each instruction set.
pub(super) trait Loop {
    type Output;
    /// Mark the implementation `#[inline(always)]`, and everything it calls.
    fn run<O: Ops>(self, o: O) -> Self::Output;
}

/// Runs a loop with the instructions of `level`. Thread: audio. Never allocates, locks or logs.
pub(super) fn run<L: Loop>(level: Level, this: L) -> L::Output {
    match level {
        Level::Plain => this.run(Portable::<{ cfg!(target_arch = "aarch64") }>),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(token) => {
            struct Run<L>(L, pulp::x86::V3);
            impl<L: Loop> pulp::NullaryFnOnce for Run<L> {
                type Output = L::Output;
                #[inline(always)]
                fn call(self) -> L::Output {
                    self.0.run(self.1)
                }
            }
            token.vectorize(Run(this, token))
        }
    }
}

/// Which parts of the pass are compiled in.
struct Variant<'a, const HARM: bool, const RAMP: bool, const ENTRAIN: bool, const MATRIX: bool>(Pass<'a>);

/// Which parts are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub ramp: bool,
    pub entrain: bool,
    pub matrix: bool,
}

impl Pass<'_> {
    /// Thread: audio. Never allocates, locks or logs.
    pub fn run(self, level: Level, parts: Parts) {
        macro_rules! go {
            ($($h:literal $r:literal $e:literal $m:literal),*) => {
                match (self.harmonics > 1, parts.ramp, parts.entrain, parts.matrix) {
                    $(($h, $r, $e, $m) => run(level, Variant::<$h, $r, $e, $m>(self)),)*
                }
            };
        }
        go!(
            false false false false, false false false true, false false true false, false false true true,
            false true false false, false true false true, false true true false, false true true true,
            true false false false, true false false true, true false true false, true false true true,
            true true false false, true true false true, true true true false, true true true true
        );
    }
}

/// Sums over the oscillators of one sample.
#[derive(Clone, Copy, Default)]
struct Sums {
    cos: F32x8,
    sin: F32x8,
    left: F32x8,
    right: F32x8,
}

/// What all oscillators share during one sample.
#[derive(Clone, Copy)]
struct Shared {
    pull_re: F32x8,
    pull_im: F32x8,
    turn_re: F32x8,
    turn_im: F32x8,
    entrain: F32x8,
    floor2: F32x8,
    follow0: F32x8,
    follow1: F32x8,
    input: F32x8,
    at: F32x8,
    harmonics: usize,
}

/// Σ_h c_h sin(hθ) / sin θ with c_1 = 1, by Clenshaw's recurrence.
#[inline(always)]
fn harmonics<O: Ops, const RAMP: bool>(o: O, cos: F32x8, p: &Partials, env: &Shared) -> F32x8 {
    let x = o.add(cos, cos);
    let (mut b1, mut b2) = (F32x8::ZERO, F32x8::ZERO);
    for h in (0..env.harmonics - 1).rev() {
        let c = if RAMP { o.fma(p.ramp[h], env.at, p.level[h]) } else { p.level[h] };
        let b = o.fma(x, b1, o.sub(c, b2));
        (b1, b2) = (b, b1);
    }
    o.fma(x, b1, o.sub(F32x8::splat(1.0), b2))
}

impl<const HARM: bool, const RAMP: bool, const ENTRAIN: bool, const MATRIX: bool>
    Variant<'_, HARM, RAMP, ENTRAIN, MATRIX>
{
    /// Sample n of eight oscillators; `mask` keeps padding out of the sums.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn step<O: Ops>(
        o: O,
        osc: &mut Osc,
        ramp: &Ramp,
        partials: &Partials,
        band: &mut Band,
        field: &Field,
        env: &Shared,
        mask: Option<F32x8>,
        sums: Sums,
    ) -> Sums {
        let (sin, cos) = (osc.sin, osc.cos);
        let mut y = sin;
        if HARM {
            y = o.mul(y, harmonics::<O, RAMP>(o, cos, partials, env));
        }
        let (mut pull_re, mut pull_im) = (env.pull_re, env.pull_im);
        if MATRIX {
            pull_re = o.fnma(field.im, env.turn_im, o.mul(field.re, env.turn_re));
            pull_im = o.fma(field.re, env.turn_im, o.mul(field.im, env.turn_re));
        }
        let mut pull = o.fnma(sin, pull_re, o.mul(cos, pull_im));
        if ENTRAIN {
            let (re, im) = (band.re, band.im);
            let re2 = o.fnma(band.mu_im, im, o.fma(band.mu_re, re, re));
            let im2 = o.fma(band.mu_im, re, o.fma(band.mu_re, im, im));
            let im2 = o.fma(band.drive, env.input, im2);
            (band.re, band.im) = (re2, im2);
            let m2 = o.fma(im2, im2, o.mul(re2, re2));
            // The band's level is that of the sample before: it moves slowly, and so its root
            // keeps nobody waiting.
            let toward = o.fnma(re2, sin, o.mul(im2, cos));
            pull = o.fma(toward, o.mul(band.grip, env.entrain), pull);
            y = o.mul(y, o.fma(env.follow1, band.heard, env.follow0));
            let q = o.rsqrt(o.add(m2, env.floor2));
            band.heard = o.mul(m2, q);
            band.grip = o.mul(band.heard, o.mul(q, q));
        }
        if MATRIX {
            pull = o.clamp(pull, F32x8::splat(MOST));
        }
        let (mut left, mut right) = (osc.left, osc.right);
        if RAMP {
            left = o.fma(ramp.left, env.at, left);
            right = o.fma(ramp.right, env.at, right);
        }
        osc.phase = o.turn_add(o.turn_add(osc.phase, osc.step), o.to_turns(pull));
        let (s, c) = osc.phase.sin_cos(o);
        (osc.sin, osc.cos) = (s, c);
        let (s, c) = match mask {
            Some(m) => (o.mul(s, m), o.mul(c, m)),
            None => (s, c),
        };
        Sums {
            cos: o.add(sums.cos, c),
            sin: o.add(sums.sin, s),
            left: o.fma(left, y, sums.left),
            right: o.fma(right, y, sums.right),
        }
    }
}

/// Most a matrix may pull per sample, just under half a turn.
const MOST: f32 = 2.147e9;

impl<const HARM: bool, const RAMP: bool, const ENTRAIN: bool, const MATRIX: bool> Loop
    for Variant<'_, HARM, RAMP, ENTRAIN, MATRIX>
{
    type Output = ();

    #[inline(always)]
    fn run<O: Ops>(self, o: O) {
        let p = self.0;
        let n = p.osc.len();
        let (osc, ramps, partials) = (&mut p.osc[..n], &p.ramps[..n], &p.partials[..n]);
        let (bands, field) = (&mut p.bands[..n], &mut p.field[..n]);
        let scale = 1.0 / p.count as f32;
        let mut z = *p.z;
        let mut r2 = *p.r2;
        let k = p.pull.coupling;
        let mut env = Shared {
            pull_re: F32x8::ZERO,
            pull_im: F32x8::ZERO,
            turn_re: F32x8::splat(k.re),
            turn_im: F32x8::splat(k.im),
            entrain: F32x8::splat(p.pull.entrain),
            floor2: F32x8::splat(p.pull.floor2),
            follow0: F32x8::ZERO,
            follow1: F32x8::ZERO,
            input: F32x8::ZERO,
            at: F32x8::ZERO,
            harmonics: p.harmonics.min(HARMONICS),
        };
        let outputs = p.left.iter_mut().zip(p.right.iter_mut()).zip(p.input);
        for (j, ((left, right), x)) in outputs.enumerate() {
            let at = (p.offset + j) as f32;
            r2 += z.re * z.re + z.im * z.im;
            if MATRIX {
                p.coupling.field(o, osc, field);
            } else {
                env.pull_re = F32x8::splat(z.re * k.re - z.im * k.im);
                env.pull_im = F32x8::splat(z.re * k.im + z.im * k.re);
            }
            if ENTRAIN {
                env.input = F32x8::splat(*x);
                env.follow0 = F32x8::splat(p.pull.follow[0] + p.pull.follow_ramp[0] * at);
                env.follow1 = F32x8::splat(p.pull.follow[1] + p.pull.follow_ramp[1] * at);
            }
            env.at = F32x8::splat(at);
            let mut sums = Sums::default();
            for v in 0..n - 1 {
                let (a, b) = (&mut osc[v], &mut bands[v]);
                sums = Self::step(o, a, &ramps[v], &partials[v], b, &field[v], &env, None, sums);
            }
            let v = n - 1;
            let (a, b) = (&mut osc[v], &mut bands[v]);
            sums = Self::step(o, a, &ramps[v], &partials[v], b, &field[v], &env, Some(p.last), sums);
            z = Complex { re: sums.cos.sum() * scale, im: sums.sin.sum() * scale };
            (*left, *right) = (sums.left.sum(), sums.right.sum());
        }
        (*p.z, *p.r2) = (z, r2);
    }
}

/// Sines, cosines and Z of the phases as they are, for the start of a run.
pub(super) struct Start<'a> {
    pub osc: &'a mut [Osc],
    pub last: F32x8,
    pub count: usize,
}

impl Kernel for Start<'_> {
    type Output = Complex;
    #[inline(always)]
    fn run<const FMA: bool>(self) -> Complex {
        let (mut re, mut im) = (F32x8::ZERO, F32x8::ZERO);
        let n = self.osc.len();
        for (v, o) in self.osc.iter_mut().enumerate() {
            (o.sin, o.cos) = o.phase.sin_cos(Portable::<FMA>);
            let mask = if v + 1 == n { self.last } else { F32x8::splat(1.0) };
            (re, im) = (re + o.cos * mask, im + o.sin * mask);
        }
        Complex { re: re.sum() / self.count as f32, im: im.sum() / self.count as f32 }
    }
}

/// Tunes the resonators to the oscillators' steps: λ = ρ e^{jω}, μ = λ − 1 without cancellation.
pub(super) struct Tune<'a> {
    pub osc: &'a [Osc],
    /// |frequency| in cycles per sample.
    pub freq: &'a [F32x8],
    pub bands: &'a mut [Band],
    pub q: f32,
    /// Smallest bandwidth in cycles per sample.
    pub min_band: f32,
}

impl Kernel for Tune<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let two = F32x8::splat(2.0);
        let (inv_q, min) = (F32x8::splat(1.0 / self.q), self.min_band);
        for ((o, f), b) in self.osc.iter().zip(self.freq).zip(self.bands) {
            let (s, c) = o.step.half().sin_cos(Portable::<FMA>);
            let width = *f * inv_q;
            let d = F32x8(std::array::from_fn(|i| width.0[i].max(min))) * F32x8::splat(std::f32::consts::PI);
            // ρ − 1 for ρ = (1 − d/2) / (1 + d/2), which is e^{−d} for all but very wide bands.
            let loss = F32x8(std::array::from_fn(|i| d.0[i] / (1.0 + 0.5 * d.0[i])));
            let rho = F32x8::splat(1.0) - loss;
            b.mu_re = F32x8::ZERO - loss - rho * two * s * s;
            b.mu_im = rho * two * s * c;
            b.drive = loss * two;
        }
    }
}
