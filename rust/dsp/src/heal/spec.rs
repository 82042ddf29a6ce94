//! What `heal` can be told.

use super::detect::Kind;
use crate::{Info, ParamSpec, Scale, TapSpec};

pub const LOST: usize = 0;
pub const METHOD: usize = 1;
pub const DETECT: usize = 2;
pub const DETECT_MS: usize = 3;
pub const FLOOR_DB: usize = 4;
pub const HOLD_MS: usize = 5;
pub const FADE_MS: usize = 6;
pub const RETURN_MS: usize = 7;

/// Number of parameters.
pub const COUNT: usize = 8;

/// What is put into a gap; indices of the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Blend,
    Short,
    Long,
    Repeat,
    Zero,
}

impl Method {
    /// The choice behind a parameter's value.
    pub fn from_param(value: f32) -> Self {
        match value as u32 {
            0 => Self::Blend,
            1 => Self::Short,
            2 => Self::Long,
            3 => Self::Repeat,
            _ => Self::Zero,
        }
    }

    /// Which models it needs.
    pub fn models(self) -> [bool; 2] {
        match self {
            Self::Blend => [true, true],
            Self::Short => [true, false],
            Self::Long => [false, true],
            Self::Repeat | Self::Zero => [false, false],
        }
    }
}

/// The detection a parameter's value asks for.
pub fn kind(value: f32) -> Kind {
    match value as u32 {
        0 => Kind::Off,
        1 => Kind::Zeros,
        _ => Kind::Held,
    }
}

pub static PARAMS: [ParamSpec; COUNT] = [
    ParamSpec::toggle("lost", false).doc(
        "While on, the input is lost and what comes in is not listened to. Exact to the sample, so that a \
         network receiver or a watcher of dropouts can say it.",
    ),
    ParamSpec::choice("method", &["blend", "short", "long", "repeat", "zero"], 0).doc(
        "What is put in: autoregressions of short and of long memory by how well each foretold what was just \
         heard, one of them alone, the last period again and again, or silence.",
    ),
    ParamSpec::choice("detect", &["off", "zeros", "held"], 0).setup().doc(
        "Finds losses by itself: runs of exact zeros on all channels, or also of a held value, that begin in \
         the midst of sound.",
    ),
    ParamSpec::new("detect_ms", "ms", (0.5, 20.0), 2.0).scale(Scale::Log).setup().doc(
        "How long a run must be to be a loss. It is latency, while detection is on: the gap is filled from \
         its first sample.",
    ),
    ParamSpec::new("floor_db", "dB", (-120.0, 0.0), -60.0)
        .smooth_ms(0.0)
        .doc("A run that begins from sound below this level is silence, not a loss."),
    ParamSpec::new("hold_ms", "ms", (0.0, 1000.0), 40.0)
        .smooth_ms(0.0)
        .doc("What is put in keeps its level for this time; for input that stays away."),
    ParamSpec::new("fade_ms", "ms", (1.0, 2000.0), 80.0)
        .scale(Scale::Log)
        .smooth_ms(0.0)
        .doc("After that it fades to silence in this time."),
    ParamSpec::new("return_ms", "ms", (0.1, 50.0), 2.0)
        .scale(Scale::Log)
        .smooth_ms(0.0)
        .doc("Cross-fade back when the input is there again."),
];

/// What `heal` is.
pub static INFO: Info = Info {
    name: "heal",
    doc: "Plays on where the input is lost: it is told, or finds it out, and cross-fades back.",
    params: &PARAMS,
    taps: &[
        TapSpec {
            name: "counts",
            doc: "Four numbers since the start: losses told, losses found, seconds put in, longest loss in ms.",
        },
        TapSpec { name: "share", doc: "Share of what is put in, in the last sample: 0 none, 1 all." },
        TapSpec {
            name: "trust",
            doc: "For each channel: share that the model of long memory would have in a blend, 0 to 1.",
        },
    ],
    arrays: &[],
};
