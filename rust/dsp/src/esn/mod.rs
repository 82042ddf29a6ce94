//! Leaky echo state network: a fixed random recurrent network that turns one sample into a vector of
//! N numbers which remember the past on many time scales. After H. Jaeger, "The echo state approach"
//! (GMD report 148, 2001); leaky units after Jaeger et al. (Neural Networks 20, 2007).
//!
//! s_t = s_{t−1} + a ∘ (tanh(w_in u_t + W s_{t−1}) − s_{t−1}), s_0 = 0, where u is the mean of all
//! channels times `input_scale`. Leak rates are per sample, whatever the sample rate is.

mod control;
mod kernel;
mod lanes;
mod layout;
mod matrix;
mod mix;
mod radius;

pub use matrix::Csr;
pub use radius::{Radius, Warm, spectral_radius};

use crate::simd::{F32x8, Level};
use crate::{ArraySpec, Bank, Info, ParamSpec, Scale, Smoothed, TapSpec};

// ---- spec ------------------------------------------------------------------------------------

const NODES: usize = 0;
const DENSITY: usize = 1;
const SPECTRAL_RADIUS: usize = 2;
const SEED: usize = 3;
const LEAK_MIN: usize = 4;
const LEAK_MAX: usize = 5;
const TOPOLOGY: usize = 6;
const INPUT_SCALE: usize = 7;
const MODE: usize = 8;
const WET: usize = 9;

/// Values of `mode`.
const READOUT: f32 = 1.0;
const TEXTURE: f32 = 2.0;

static PARAMS: [ParamSpec; 10] = [
    ParamSpec::new("nodes", "", (1.0, kernel::MAX_NODES as f32), 64.0)
        .scale(Scale::Int)
        .setup()
        .doc("Number of nodes N."),
    ParamSpec::new("density", "", (0.0, 1.0), 0.1)
        .setup()
        .doc("Share of the N × N recurrent weights that are not zero."),
    ParamSpec::new("spectral_radius", "", (0.0, 4.0), 0.99).setup().doc(
        "Largest eigenvalue modulus that W is scaled to: nearer to 1 remembers longer, above 1 may \
         sound on by itself. A drawn W without a cycle has radius 0 and is left as it is.",
    ),
    ParamSpec::new("seed", "", (0.0, 16_777_215.0), 42.0)
        .scale(Scale::Int)
        .setup()
        .doc("Which random network; the same number gives the same network on every machine."),
    ParamSpec::new("leak_min", "", (1e-6, 1.0), 1e-4)
        .scale(Scale::Log)
        .setup()
        .doc("Leak rate per sample of node 0, the slowest; 1e-4 at 48 kHz is a time constant of 0.2 s."),
    ParamSpec::new("leak_max", "", (1e-6, 1.0), 1.0)
        .scale(Scale::Log)
        .setup()
        .doc("Leak rate per sample of the last node; those between are spaced evenly in the logarithm."),
    ParamSpec::choice("topology", &["random", "blocks"], 0).setup().doc(
        "Where the weights of W lie: anywhere, or in columns of 8 rows, which has the same memory and runs \
         several times faster.",
    ),
    ParamSpec::new("input_scale", "", (0.01, 100.0), 1.0)
        .scale(Scale::Log)
        .doc("Factor on the input of the network: more drives the nodes further into saturation."),
    ParamSpec::choice("mode", &["analyse", "readout", "texture"], 0).doc(
        "What is heard: the input unchanged, the linear readout `w_out` of the state, or a random \
         projection of the state to each channel, without DC and as loud as the input.",
    ),
    ParamSpec::new("wet", "", (0.0, 1.0), 0.5)
        .doc("Share of readout or texture in the output; the rest is the input. No effect in `analyse`."),
];

const TAP_STATE: usize = 0;
const TAP_RADIUS: usize = 1;

static TAPS: [TapSpec; 2] = [
    TapSpec { name: "state", doc: "State of the N nodes, node 0 (slowest) first, -1 to 1." },
    TapSpec { name: "achieved_radius", doc: "Spectral radius of W as it runs, measured after scaling." },
];

const W: usize = 0;
const W_IN: usize = 1;
const LEAK: usize = 2;
const W_OUT: usize = 3;

static ARRAYS: [ArraySpec; 4] = [
    ArraySpec {
        name: "w",
        live: false,
        doc: "Recurrent weights, N × N row-major, used as given (not rescaled); row i feeds node i.",
    },
    ArraySpec { name: "w_in", live: false, doc: "Input weights, N." },
    ArraySpec { name: "leak", live: false, doc: "Leak rates per sample, N numbers from 0 to 1." },
    ArraySpec {
        name: "w_out",
        live: true,
        doc: "Linear readout: the bias, then one weight per node; N + 1 numbers, 0 at first. Heard on all \
              channels in mode `readout`.",
    },
];

/// Largest weight accepted: sums of them stay finite.
const MAX_WEIGHT: f32 = 1e6;

/// What `esn` is.
pub static INFO: Info = Info {
    name: "esn",
    doc: "Leaky echo state network: the state as a tap, a linear readout, or a texture made from it.",
    params: &PARAMS,
    taps: &TAPS,
    arrays: &ARRAYS,
};

/// A leaky echo state network. See the module for the equations.
pub struct Esn {
    params: Bank<10>,
    /// Arrays given by `set_array`; empty: drawn or computed.
    given: [Vec<f32>; 4],
    level: Level,
    prepared: Option<Prepared>,
    scale: Smoothed,
    wet: Smoothed,
    readout: Smoothed,
    texture: Smoothed,
    ramps: [usize; 3],
}

/// All that `prepare` makes.
struct Prepared {
    w: Csr,
    w_in: Vec<f32>,
    leak: Vec<f32>,
    radius: Radius,
    net: kernel::Net,
    state: kernel::State,
    /// Projections of the state in slot order: the readout, then the texture of each channel.
    rows: Vec<F32x8>,
    bias: f32,
    /// Network input of a part of the block, then the projections, `max_block` samples each.
    input: Vec<f32>,
    out: Vec<f32>,
    max_block: usize,
    voices: Vec<mix::Voice>,
    rates: mix::Rates,
}
