//! From dB, Hz and Q to filter coefficients, and the true transfer function for plots.
//!
//! Formulas: Robert Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients"
//! (low shelf, peaking EQ, high shelf). The audio runs the same transfer functions as state
//! variable filters, after Andrew Simper, "Solving the continuous SVF equations using trapezoidal
//! integration and equivalent currents" (Cytomic, 2013): both are the bilinear transform of one
//! analog prototype, and a test holds them together.

use super::kernel::Cell;
use num_complex::Complex64;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Sections in series.
pub const BANDS: usize = 5;
/// Parameters of the equaliser.
pub const PARAMS: usize = 13;
/// Q of both shelves: the steepest slope without a bump.
pub const SHELF_Q: f64 = FRAC_1_SQRT_2;
/// A centre frequency above this share of the sample rate is lowered to it.
pub const HIGHEST_CENTER: f64 = 0.49;

/// What a band does to the spectrum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Lifts or cuts everything below the centre.
    LowShelf,
    /// Lifts or cuts a region around the centre.
    Bell,
    /// Lifts or cuts everything above the centre.
    HighShelf,
}

/// Where a band finds its numbers in the parameter list; `q` is none for a shelf.
pub(super) struct Slots {
    pub shape: Shape,
    pub gain: usize,
    pub center: usize,
    pub q: Option<usize>,
}

const fn slots(shape: Shape, gain: usize, q: Option<usize>) -> Slots {
    Slots { shape, gain, center: gain + 1, q }
}

/// Order of the parameters: G1 F1, G2 F2 Q2, G3 F3 Q3, G4 F4 Q4, G5 F5.
pub(super) static LAYOUT: [Slots; BANDS] = [
    slots(Shape::LowShelf, 0, None),
    slots(Shape::Bell, 2, Some(4)),
    slots(Shape::Bell, 5, Some(7)),
    slots(Shape::Bell, 8, Some(10)),
    slots(Shape::HighShelf, 11, None),
];

/// One section.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// Shelf or bell.
    pub shape: Shape,
    /// Gain at the centre of a bell, or at the end of a shelf.
    pub gain_db: f64,
    /// Centre of a bell; for a shelf, where half of the gain in dB is reached.
    pub center_hz: f64,
    /// Centre over width, by the cookbook's definition for a peaking EQ.
    pub q: f64,
}

impl Band {
    fn angle(&self, sample_rate: f64) -> f64 {
        2.0 * PI * (self.center_hz / sample_rate).min(HIGHEST_CENTER)
    }

    /// The cookbook's coefficients, scipy's layout of a section: b0 b1 b2 1 a1 a2.
    pub fn section(&self, sample_rate: f64) -> [f64; 6] {
        let w = self.angle(sample_rate);
        let (sin, cos) = w.sin_cos();
        let alpha = sin / (2.0 * self.q);
        let a = 10f64.powf(self.gain_db / 40.0);
        let shelf = 2.0 * a.sqrt() * alpha;
        let (sum, diff) = (a + 1.0, a - 1.0);
        let [b0, b1, b2, a0, a1, a2] = match self.shape {
            Shape::LowShelf => [
                a * (sum - diff * cos + shelf),
                2.0 * a * (diff - sum * cos),
                a * (sum - diff * cos - shelf),
                sum + diff * cos + shelf,
                -2.0 * (diff + sum * cos),
                sum + diff * cos - shelf,
            ],
            Shape::Bell => {
                [1.0 + alpha * a, -2.0 * cos, 1.0 - alpha * a, 1.0 + alpha / a, -2.0 * cos, 1.0 - alpha / a]
            }
            Shape::HighShelf => [
                a * (sum + diff * cos + shelf),
                -2.0 * a * (diff + sum * cos),
                a * (sum + diff * cos - shelf),
                sum - diff * cos + shelf,
                2.0 * (diff - sum * cos),
                sum - diff * cos - shelf,
            ],
        };
        [b0 / a0, b1 / a0, b2 / a0, 1.0, a1 / a0, a2 / a0]
    }

    /// The prototype's angular frequency (warped, half), damping, and amplitude A = 10^(dB/40).
    fn prototype(&self, sample_rate: f64) -> (f64, f64, f64) {
        let a = 10f64.powf(self.gain_db / 40.0);
        let g = (0.5 * self.angle(sample_rate)).tan();
        match self.shape {
            Shape::LowShelf => (g / a.sqrt(), 1.0 / self.q, a),
            Shape::Bell => (g, 1.0 / (self.q * a), a),
            Shape::HighShelf => (g * a.sqrt(), 1.0 / self.q, a),
        }
    }

    /// The same section for the audio loop. At 0 dB it is exactly a wire.
    pub(super) fn cell(&self, sample_rate: f64) -> Cell {
        let (g, k, a) = self.prototype(sample_rate);
        // Weights of input, band-pass and low-pass in the output.
        let (input, band, low) = match self.shape {
            Shape::LowShelf => (1.0, k * (a - 1.0), a * a - 1.0),
            Shape::Bell => (1.0, k * (a * a - 1.0), 0.0),
            Shape::HighShelf => (a * a, k * (1.0 - a) * a, 1.0 - a * a),
        };
        let a1 = 1.0 / (1.0 + g * (g + k));
        let a2 = g * a1;
        let a3 = g * a2;
        Cell {
            keep: 2.0 * a1 - 1.0,
            turn: 2.0 * a2,
            lift: 2.0 * a3,
            direct: input + band * a2 + low * a3,
            from_band: band * a1 + low * a2,
            from_low: low * (1.0 - a3) - band * a2,
        }
    }

    /// Time for the section's ringing to fall by 60 dB, in samples; 0 at 0 dB.
    pub(super) fn decay_samples(&self, sample_rate: f64) -> f64 {
        if self.gain_db == 0.0 {
            return 0.0;
        }
        let (g, k, _) = self.prototype(sample_rate);
        // The slower root of s² + k s + 1, per sample.
        let h = 0.5 * k;
        let slow = if h > 1.0 { 1.0 / (h + (h * h - 1.0).sqrt()) } else { h };
        1000f64.ln() / (2.0 * g * slow)
    }
}

/// The five bands that 13 parameter values stand for, in the order of the signal.
pub fn bands(params: &[f32; PARAMS]) -> [Band; BANDS] {
    std::array::from_fn(|b| {
        let s = &LAYOUT[b];
        Band {
            shape: s.shape,
            gain_db: f64::from(params[s.gain]),
            center_hz: f64::from(params[s.center]),
            q: s.q.map_or(SHELF_Q, |id| f64::from(params[id])),
        }
    })
}

/// The equaliser as second-order sections (scipy's `sos`: 5 rows of b0 b1 b2 1 a1 a2).
///
/// `params`: the 13 parameters in their order, dB, Hz and Q. Thread: any. Never allocates.
pub fn sections(params: &[f32; PARAMS], sample_rate: f64) -> [[f64; 6]; BANDS] {
    bands(params).map(|b| b.section(sample_rate))
}

/// The true transfer function of the resting equaliser at each of `freqs_hz`.
///
/// `params`: the 13 parameters in their order, dB, Hz and Q. Returns one complex factor per
/// frequency: its size is the gain, its angle the phase in radians. Thread: control. May allocate.
pub fn response(params: &[f32; PARAMS], freqs_hz: &[f64], sample_rate: f64) -> Vec<Complex64> {
    let sections = sections(params, sample_rate);
    let at = |hz: &f64| {
        let z1 = Complex64::cis(-2.0 * PI * hz / sample_rate);
        let poly = |c: &[f64]| (z1 * c[2] + c[1]) * z1 + c[0];
        sections.iter().map(|s| poly(&s[..3]) / poly(&s[3..])).product()
    };
    freqs_hz.iter().map(at).collect()
}

/// The size of [`response`] in dB.
pub fn response_db(params: &[f32; PARAMS], freqs_hz: &[f64], sample_rate: f64) -> Vec<f64> {
    response(params, freqs_hz, sample_rate).iter().map(|h| 20.0 * h.norm().log10()).collect()
}
