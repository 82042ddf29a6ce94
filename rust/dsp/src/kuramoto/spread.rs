//! Where the oscillators start: frequencies, levels, phases and pans made from a few set-up
//! parameters and a seed.

/// How generated frequencies lie; the order of the `spread` choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// Partials 1, 2, 3, … of the base, up to `span_octaves`, then again from 1.
    Harmonic,
    /// Equal steps in pitch from the base over `span_octaves`.
    Log,
    /// Root, third, fifth and seventh (4:5:6:7.5) in each octave of the span, then again.
    Chord,
    /// Quantiles of a Lorentzian around the base; half width `spread_hz`.
    Lorentzian,
    /// Seeded normal draws around the base; standard deviation `spread_hz`.
    Normal,
}

/// Names of [`Spread`], in order.
pub(super) const SPREADS: &[&str] = &["harmonic", "log", "chord", "lorentzian", "normal"];

impl Spread {
    pub fn from_index(i: usize) -> Self {
        [Self::Harmonic, Self::Log, Self::Chord, Self::Lorentzian, Self::Normal][i.min(4)]
    }
}

/// Number `index` of stream `stream` of a seed, uniform in [0, 1). Needs no state, so that `reset`
/// can make the start phases again on the audio thread.
pub(super) fn uniform(seed: u32, stream: u32, index: usize) -> f64 {
    // SplitMix64 (Steele, Lea, Flood 2014), one step from a mixed start.
    let key = (u64::from(seed) << 32 | u64::from(stream)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let mut z = key.wrapping_add((index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// A normal draw, mean 0, standard deviation 1 (Box–Muller).
pub(super) fn normal(seed: u32, stream: u32, index: usize) -> f64 {
    let (u, v) = (uniform(seed, stream, 2 * index), uniform(seed, stream, 2 * index + 1));
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Natural frequencies in Hz.
pub(super) fn frequencies(
    kind: Spread,
    n: usize,
    base_hz: f64,
    span_octaves: f64,
    spread_hz: f64,
    seed: u32,
) -> Vec<f64> {
    let quantile = |i: usize| (i as f64 + 0.5) / n as f64;
    let octaves = span_octaves.round().max(1.0) as usize;
    (0..n)
        .map(|i| match kind {
            Spread::Harmonic => base_hz * (1 + i % (span_octaves.exp2().round() as usize).max(1)) as f64,
            Spread::Log => base_hz * (span_octaves * i as f64 / (n.max(2) - 1) as f64).exp2(),
            Spread::Chord => {
                let note = i % (4 * octaves);
                base_hz * [1.0, 1.25, 1.5, 1.875][note % 4] * ((note / 4) as f64).exp2()
            }
            Spread::Lorentzian => base_hz + spread_hz * (std::f64::consts::PI * (quantile(i) - 0.5)).tan(),
            Spread::Normal => base_hz + spread_hz * normal(seed, 1, i),
        })
        .collect()
}

/// Levels that fall by `tilt_db` per octave above the base, mean square 1.
pub(super) fn levels(freq_hz: &[f64], base_hz: f64, tilt_db: f64) -> Vec<f32> {
    let power = tilt_db / (20.0 * 2f64.log10());
    let raw: Vec<f64> = freq_hz.iter().map(|f| (f.abs().max(1.0) / base_hz).powf(power)).collect();
    let mean_square = raw.iter().map(|a| a * a).sum::<f64>() / raw.len() as f64;
    raw.iter().map(|a| (a / mean_square.sqrt()) as f32).collect()
}

/// Pans in [−1, 1] with mean 0, neighbours far apart (golden-ratio steps).
pub(super) fn pans(n: usize) -> Vec<f32> {
    let raw: Vec<f64> =
        (0..n).map(|i| 2.0 * ((i as f64 + 0.5) * 0.618_033_988_749_895).fract() - 1.0).collect();
    let mean = raw.iter().sum::<f64>() / n as f64;
    raw.iter().map(|p| (p - mean).clamp(-1.0, 1.0) as f32).collect()
}
