//! What a hosted model is: parameters every one has, and those it brings along. Thread: control.

use cspace_dsp::{Info, ParamSpec, Scale, TapSpec};
use std::sync::Mutex;

use super::HopModel;

pub(super) const WET: usize = 0;
pub(super) const CONCEAL: usize = 1;
pub(super) const DROP_RATE: usize = 2;
pub(super) const DROP_SEED: usize = 3;
pub(super) const SPARE_MS: usize = 4;
/// Parameters of every hosted model; the model's own follow.
pub(super) const BASE: usize = 5;
pub(super) const DRY: f32 = 1.0; // of `conceal`

/// Parameters of every hosted model.
pub static PARAMS: [ParamSpec; BASE] = [
    ParamSpec::new("wet", "", (0.0, 1.0), 1.0).doc("0 is the input, delayed alike; 1 the model alone."),
    ParamSpec::choice("conceal", &["fade", "dry"], 0).doc(
        "What is heard for a hop that is late or dropped: the last sound played backwards and faded out, or the input.",
    ),
    ParamSpec::new("drop_rate", "", (0.0, 1.0), 0.0)
        .smooth_ms(0.0)
        .doc("Simulated loss: this share of the hops is thrown away and concealed."),
    ParamSpec::new("drop_seed", "", (0.0, 65_535.0), 0.0)
        .scale(Scale::Int)
        .smooth_ms(0.0)
        .doc("Which hops are dropped; the same seed drops the same ones."),
    ParamSpec::new("spare_ms", "ms", (0.0, 500.0), 2.0)
        .setup()
        .doc("Live: time the worker has beyond one hop before its result is due. Latency against late hops."),
];

static TAPS: [TapSpec; 1] =
    [TapSpec { name: "hops", doc: "Hops played, late and dropped since the last reset." }];

/// A parameter that a model brings along.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelParameter {
    /// Unique within the model, and none of [`PARAMS`].
    pub name: String,
    /// As shown to people.
    pub unit: String,
    /// Lowest value.
    pub min: f32,
    /// Highest value.
    pub max: f32,
    /// At the start.
    pub default: f32,
    /// Ramp time; the model gets the value at the last sample of each hop.
    pub smooth_ms: f32,
    /// What is heard.
    pub doc: String,
}

/// Loads the model anew for one stream; can take a while, and refuse with a sentence.
pub type Load = Box<dyn Fn() -> Result<Box<dyn HopModel>, String> + Send + Sync>;

/// A model to be hosted.
pub struct HostedSpec {
    /// Made by [`info`].
    pub info: &'static Info,
    /// Hz; an engine at another rate is refused.
    pub sample_rate: f64,
    /// Samples per run.
    pub hop: usize,
    /// Channels per run. A model of one channel runs once for each channel of the chain.
    pub channels: usize,
    /// The model's own delay in samples, hops joined end to end.
    pub latency: usize,
    /// How long it sounds on.
    pub tail: usize,
    /// Makes one stream.
    pub load: Load,
}

type Key = (String, Vec<ModelParameter>);

/// Descriptions made so far. They live as long as the program, like those of built-in processors, so
/// the same one is used again: loading a model a thousand times costs one description.
static MADE: Mutex<Vec<(Key, &'static Info)>> = Mutex::new(Vec::new());

/// What a processor called `name` that hosts a model with these parameters is.
pub fn info(name: &str, doc: &str, parameters: &[ModelParameter]) -> &'static Info {
    let key = (name.to_owned(), parameters.to_vec());
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, info)) = made.iter().find(|(k, _)| *k == key) {
        return info;
    }
    let own = parameters.iter().map(|p| {
        let spec = ParamSpec::new(leak(&p.name), leak(&p.unit), (p.min, p.max), p.default);
        spec.smooth_ms(p.smooth_ms).doc(leak(&p.doc))
    });
    let params: Vec<ParamSpec> = PARAMS.iter().copied().chain(own).collect();
    let info: &'static Info = Box::leak(Box::new(Info {
        name: leak(name),
        doc: leak(doc),
        params: Box::leak(params.into_boxed_slice()),
        taps: &TAPS,
        arrays: &[],
    }));
    made.push((key, info));
    info
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}
