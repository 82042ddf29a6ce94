//! Parameters, taps and arrays of `kuramoto`.

use super::kernel::HARMONICS;
use super::spread::SPREADS;
use std::f32::consts::FRAC_PI_2;

use crate::{ArraySpec, Info, ParamSpec, Scale, TapSpec};

pub(super) const OSCILLATORS: usize = 0;
pub(super) const SPREAD: usize = 1;
pub(super) const BASE_HZ: usize = 2;
pub(super) const SPAN_OCTAVES: usize = 3;
pub(super) const SPREAD_HZ: usize = 4;
pub(super) const TILT_DB: usize = 5;
pub(super) const SEED: usize = 6;
pub(super) const MODE: usize = 7;
pub(super) const COUPLING_HZ: usize = 8;
pub(super) const PHASE_LAG_RAD: usize = 9;
pub(super) const PITCH_SEMITONES: usize = 10;
pub(super) const PERTURB: usize = 11;
pub(super) const HARMONIC_COUNT: usize = 12;
pub(super) const ROLLOFF: usize = 13;
pub(super) const LEVEL_DB: usize = 14;
pub(super) const DRY: usize = 15;
pub(super) const WIDTH: usize = 16;
pub(super) const ENTRAIN_HZ: usize = 17;
pub(super) const ENTRAIN_FLOOR_DB: usize = 18;
pub(super) const BAND_Q: usize = 19;
pub(super) const FOLLOW: usize = 20;
pub(super) const FOLLOW_REF_DB: usize = 21;
pub(super) const RATIO_COUPLING: usize = 22;
pub(super) const MAP_ROWS: usize = 23;
pub(super) const MAP_COLUMNS: usize = 24;
pub(super) const MAP_X: usize = 25;
pub(super) const MAP_Y: usize = 26;
pub(super) const MORPH: usize = 27;
pub(super) const COUNT: usize = 28;

pub(super) static PARAMS: [ParamSpec; COUNT] = [
    ParamSpec::new("oscillators", "", (1.0, 4096.0), 64.0)
        .scale(Scale::Int)
        .setup()
        .doc("Number of oscillators."),
    ParamSpec::choice("spread", SPREADS, 0).setup().doc(
        "Where generated frequencies lie: harmonic (partials of the base), log (equal pitch steps), chord \
         (4:5:6:7.5 per octave), lorentzian and normal (around the base, wide by spread_hz). An array \
         freq_hz replaces them.",
    ),
    ParamSpec::new("base_hz", "Hz", (1.0, 20_000.0), 110.0)
        .scale(Scale::Log)
        .setup()
        .doc("Lowest generated frequency; the centre for lorentzian and normal."),
    ParamSpec::new("span_octaves", "octaves", (0.0, 10.0), 4.0)
        .setup()
        .doc("Range above base_hz for harmonic, log and chord."),
    ParamSpec::new("spread_hz", "Hz", (0.0, 2_000.0), 5.0)
        .setup()
        .doc("Half width of the Lorentzian, standard deviation of the normal distribution."),
    ParamSpec::new("tilt_db", "dB", (-24.0, 6.0), -6.0)
        .setup()
        .doc("Slope of the generated levels per octave above base_hz. An array level replaces them."),
    ParamSpec::new("seed", "", (0.0, 65_535.0), 1.0)
        .scale(Scale::Int)
        .setup()
        .doc("Start phases, deviations of perturb and normal draws; the same seed gives the same sound."),
    ParamSpec::choice("mode", &["free", "entrained"], 0).doc(
        "free: a synth of its own. entrained: each oscillator is also pulled by the phase of the input in \
         a band around its frequency.",
    ),
    ParamSpec::new("coupling_hz", "Hz", (0.0, 2_000.0), 2.0).doc(
        "Strength K of the mean field. Two oscillators lock exactly when their frequencies differ by at \
         most K; a Lorentzian of half width g locks from K = 2 g on. With the band pull it is held below \
         a quarter of the sample rate.",
    ),
    ParamSpec::new("phase_lag_rad", "rad", (-FRAC_PI_2, FRAC_PI_2), 0.0)
        .doc("Sakaguchi's lag: positive pulls the synchronised pitch down, and weakens the locking."),
    ParamSpec::new("pitch_semitones", "semitones", (-48.0, 48.0), 0.0)
        .smooth_ms(50.0)
        .doc("Transposes all oscillators."),
    ParamSpec::new("perturb", "", (0.0, 1.0), 0.1)
        .smooth_ms(50.0)
        .doc("Seeded detuning of every oscillator; at 1 its standard deviation is 50 cents."),
    ParamSpec::new("harmonics", "", (1.0, HARMONICS as f32), 1.0)
        .scale(Scale::Int)
        .doc("Harmonics of each oscillator; those near and above the Nyquist frequency fade out."),
    ParamSpec::new("rolloff", "", (0.0, 4.0), 1.0).doc("Harmonic h has level 1/h^rolloff; 0 is bright."),
    ParamSpec::new("level_db", "dB", (-120.0, 24.0), -18.0).doc(
        "RMS level of the synth at unit oscillator levels, held as the oscillators synchronise (over 0.1 s); \
         -120 dB is silence.",
    ),
    ParamSpec::new("dry", "", (0.0, 1.0), 1.0).doc("Level of the input in the output."),
    ParamSpec::new("width", "", (0.0, 1.0), 0.5)
        .doc("How far the oscillators lie apart between even and odd channels."),
    ParamSpec::new("entrain_hz", "Hz", (0.0, 2_000.0), 50.0)
        .doc("Pull of the input in entrained mode: an oscillator locks to a partial at most this far away."),
    ParamSpec::new("entrain_floor_db", "dB", (-120.0, 0.0), -60.0)
        .doc("Band level at which the pull has half its strength; weaker input loses its grip."),
    ParamSpec::new("band_q", "", (1.0, 200.0), 12.0)
        .scale(Scale::Log)
        .doc("Centre frequency over bandwidth of the input bands; bands are at least 1 Hz wide."),
    ParamSpec::new("follow", "", (0.0, 1.0), 0.0)
        .doc("In entrained mode: 1 lets each oscillator sound only as loud as its input band."),
    ParamSpec::new("follow_ref_db", "dB", (-80.0, 20.0), -30.0)
        .doc("Band level (peak of a sine) at which a following oscillator has its own level."),
    ParamSpec::new("ratio_coupling", "", (0.0, 16.0), 1.0).doc(
        "Strength of the couplings in ratios, times their weights. With weights that sum to the mistuning \
         of a pair, as the array's text says, the pair locks from 1 on.",
    ),
    ParamSpec::new("map_rows", "", (1.0, 64.0), 1.0).scale(Scale::Int).setup().doc("Rows of the array map."),
    ParamSpec::new("map_columns", "", (1.0, 64.0), 1.0)
        .scale(Scale::Int)
        .setup()
        .doc("Columns of the array map."),
    ParamSpec::new("map_x", "", (0.0, 1.0), 0.5)
        .smooth_ms(50.0)
        .doc("Position on the map, from its first column to its last; needs the array map."),
    ParamSpec::new("map_y", "", (0.0, 1.0), 0.5)
        .smooth_ms(50.0)
        .doc("Position on the map, from its first row to its last; needs the array map."),
    ParamSpec::new("morph", "", (0.0, 1.0), 0.0).smooth_ms(50.0).doc(
        "From the first layer of the map to its last, mixing neighbours; needs an array map with layers.",
    ),
];

pub(super) const TAP_R: usize = 0;
pub(super) const TAP_MEAN_PHASE: usize = 1;
pub(super) const TAP_PHASES: usize = 2;
pub(super) const TAP_LOCKING: usize = 3;

static TAPS: [TapSpec; 4] = [
    TapSpec { name: "r", doc: "Order parameter |mean of e^(j phase)|, 0 (scattered) to 1 (in phase)." },
    TapSpec { name: "mean_phase_rad", doc: "Angle of the mean of e^(j phase), -pi to pi rad." },
    TapSpec { name: "phases_rad", doc: "Phase of each oscillator at the next sample, -pi to pi rad." },
    TapSpec {
        name: "ratio_locking",
        doc: "For each coupling in ratios |mean of e^(j angle)| over 0.5 s: 1 locked, 0 drifting.",
    },
];

pub(super) const ARRAY_FREQ: usize = 0;
pub(super) const ARRAY_LEVEL: usize = 1;
pub(super) const ARRAY_MATRIX: usize = 2;
pub(super) const ARRAY_EDGES: usize = 3;
pub(super) const ARRAY_RATIOS: usize = 4;
pub(super) const ARRAY_MAP: usize = 5;

static ARRAYS: [ArraySpec; 6] = [
    ArraySpec {
        name: "freq_hz",
        live: true,
        doc: "Natural frequency of each oscillator in Hz, shape (oscillators); glides over 20 ms. Held \
              within half the sample rate either side of 0.",
    },
    ArraySpec {
        name: "level",
        live: true,
        doc: "Level of each oscillator, shape (oscillators), -16 to 16 (negative inverts); ramps over 20 ms.",
    },
    ArraySpec {
        name: "matrix",
        live: false,
        doc: "Coupling weights w[i][j] of oscillator j on i, shape (oscillators, oscillators) row-major, at \
              most 512 oscillators. Replaces the mean field: pull of i = coupling_hz * sum_j w[i][j] \
              sin(phase_j - phase_i - phase_lag_rad). All 1/oscillators equals the mean field.",
    },
    ArraySpec {
        name: "edges",
        live: false,
        doc: "The same as flat triplets [i, j, weight, ...] with indices from 0, for few couplings among many.",
    },
    ArraySpec {
        name: "ratios",
        live: false,
        doc: "Couplings near whole-number ratios, beside the others: flat sets of five [i, j, p, q, weight_hz, ...], \
              each a pull of ratio_coupling * weight_hz * sin(q phase_j - p phase_i) on i, p and q from 1 to 64. \
              A pair coupled both ways locks when |q f_j - p f_i| <= ratio_coupling * (p w_ij + q w_ji). All pulls \
              on one oscillator together are held below 1/1024 of the sample rate.",
    },
    ArraySpec {
        name: "map",
        live: false,
        doc: "Patterns of levels, flat [layer][row][column][oscillator], -16 to 16. The pattern at map_x, map_y and \
              morph, mixed from the nodes around, multiplies the array level.",
    },
];

/// What `kuramoto` is.
pub static INFO: Info = Info {
    name: "kuramoto",
    doc: "Synth of coupled phase oscillators that can lock onto the input.",
    params: &PARAMS,
    taps: &TAPS,
    arrays: &ARRAYS,
};
