//! What `cspace` is: its parameters, taps and arrays.

use crate::{ArraySpec, Info, ParamSpec, Scale, TapSpec};

pub(super) const OSCILLATORS: usize = 0;
pub(super) const LOW_HZ: usize = 1;
pub(super) const HIGH_HZ: usize = 2;
pub(super) const DECAY_LAW: usize = 3;
pub(super) const Q: usize = 4;
pub(super) const LEGACY_R_LOW: usize = 5;
pub(super) const LEGACY_R_HIGH: usize = 6;
pub(super) const SYNTHESIS: usize = 7;
/// The parameters from here on move while audio runs.
pub(super) const FIRST_LIVE: usize = 8;
pub(super) const BLUR: usize = 8;
pub(super) const FREEZE: usize = 9;
pub(super) const SHIFT_HZ: usize = 10;
pub(super) const TILT: usize = 11;
pub(super) const FOCUS_HZ: usize = 12;
pub(super) const FOCUS_WIDTH: usize = 13;
pub(super) const FOCUS_GAIN_DB: usize = 14;
pub(super) const RESYNTHESIS: usize = 15;
pub(super) const MIX: usize = 16;
pub(super) const COUNT: usize = 17;
pub(super) const LIVE: usize = COUNT - FIRST_LIVE;

pub(super) const TAP_STATES: usize = 0;
pub(super) const TAP_MAGNITUDE: usize = 1;
pub(super) const TAP_CENTER: usize = 2;

pub(super) const ARRAY_GAINS: usize = 0;

/// Below this a gain is silence.
pub(super) const SILENCE_DB: f32 = -120.0;
/// Highest gain of a band from tilt and focus together; the array may add 24 dB.
pub(super) const TOP_DB: f32 = 36.0;

pub(super) static PARAMS: [ParamSpec; COUNT] = [
    ParamSpec::new("oscillators", "", (1.0, 1024.0), 64.0)
        .scale(Scale::Int)
        .setup()
        .doc("Number of oscillators, evenly spaced in octaves."),
    ParamSpec::new("low_hz", "Hz", (5.0, 20_000.0), 40.0)
        .scale(Scale::Log)
        .setup()
        .doc("Frequency of the lowest oscillator."),
    ParamSpec::new("high_hz", "Hz", (10.0, 90_000.0), 16_000.0)
        .scale(Scale::Log)
        .setup()
        .doc("Frequency of the highest oscillator; kept below 0.49 of the sample rate."),
    ParamSpec::choice("decay_law", &["constant_q", "legacy"], 0).setup().doc(
        "How fast oscillators decay: constant_q over the same number of periods, legacy by radii in \
         equal steps from legacy_r_low to legacy_r_high (wide bands, Q near 0.2).",
    ),
    ParamSpec::new("q", "", (0.5, 100.0), 8.0)
        .scale(Scale::Log)
        .setup()
        .doc("Centre over -3 dB width with constant_q; the ring lasts about 2.2 Q periods to -60 dB."),
    ParamSpec::new("legacy_r_low", "", (0.0, 0.999_99), 0.999)
        .setup()
        .doc("Pole radius of the lowest oscillator with decay_law legacy."),
    ParamSpec::new("legacy_r_high", "", (0.0, 0.999_99), 0.6)
        .setup()
        .doc("Pole radius of the highest oscillator with decay_law legacy."),
    ParamSpec::choice("synthesis", &["dispersed", "prompt"], 0).setup().doc(
        "How oscillators add up: dispersed lets each frequency come up to one of its periods late and \
         keeps bands apart; prompt has no delay, but bands blend and shift_hz leaves a strong image. \
         decay_law legacy is always prompt.",
    ),
    ParamSpec::new("blur", "", (1.0, 100.0), 1.0)
        .scale(Scale::Log)
        .smooth_ms(30.0)
        .doc("Makes every oscillator ring this many times longer; noise keeps its level."),
    ParamSpec::new("freeze", "", (0.0, 1.0), 0.0).smooth_ms(30.0).doc(
        "At 1 the oscillators hold what they play without decay and take in nothing new; between, a \
              longer ring.",
    ),
    ParamSpec::new("shift_hz", "Hz", (-2000.0, 2000.0), 0.0)
        .doc("Moves every oscillator's sound by this frequency; the phase runs on without a jump."),
    ParamSpec::new("tilt_db_per_oct", "dB/oct", (-12.0, 12.0), 0.0)
        .doc("Band gains rise by this much per octave, around 1 kHz."),
    ParamSpec::new("focus_hz", "Hz", (20.0, 20_000.0), 1000.0)
        .scale(Scale::Log)
        .doc("Where the bell of band gains is centred."),
    ParamSpec::new("focus_width_oct", "oct", (0.1, 8.0), 1.0)
        .scale(Scale::Log)
        .doc("Width of the bell between the points of half its gain in dB."),
    ParamSpec::new("focus_gain_db", "dB", (-60.0, 24.0), 0.0).doc("Gain at the bell's centre."),
    ParamSpec::new("resynthesis", "", (0.0, 1.0), 0.0).doc(
        "From the input as it is (0) to the sum of the oscillators (1). Any other knob off its neutral \
         place brings the sum in by itself.",
    ),
    ParamSpec::new("mix", "", (0.0, 1.0), 1.0).doc("Share of the processed sound; 0 is the input alone."),
];

/// What `cspace` is.
pub static INFO: Info = Info {
    name: "cspace",
    doc: "A bank of complex damped oscillators: freeze, blur, shift and shape the sound in its bands, and read their states.",
    params: &PARAMS,
    taps: &[
        TapSpec {
            name: "states",
            doc: "Oscillator states, Re (oscillators) then Im (oscillators), mean of the channels; a tone \
                  at the centre of a band has half its amplitude as magnitude.",
        },
        TapSpec {
            name: "magnitude_db",
            doc: "20 log10 of the state magnitudes, at least -120 dB (oscillators).",
        },
        TapSpec { name: "center_hz", doc: "Centre frequencies in Hz, rising (oscillators)." },
    ],
    arrays: &[ArraySpec {
        name: "band_gain_db",
        live: true,
        doc: "Gain of each oscillator in dB (oscillators), -120 (silence) to 24, by rising frequency. Moves \
              over 20 ms.",
    }],
};
