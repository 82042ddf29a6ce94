//! Parameters: declared once here, derived everywhere else (Python properties, OSC addresses,
//! presets, clamping, the docs table).

/// How a parameter's range is walked by a knob, and which values exist.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Any value in the range.
    Linear,
    /// Any value in the range, knob and smoothing in log2 (frequencies, times, Q).
    Log,
    /// Whole numbers only.
    Int,
    /// 0 or 1.
    Toggle,
    /// Index into these names.
    Choice(&'static [&'static str]),
}

/// One parameter of a processor. Names carry their unit: `gain_db`, `center_hz`, `smooth_ms`.
#[derive(Clone, Copy, Debug)]
pub struct ParamSpec {
    /// Unique within the processor, `snake_case`, unit as suffix.
    pub name: &'static str,
    /// Unit as shown to people (`"Hz"`, `"dB"`, `"ms"`), empty for plain numbers.
    pub unit: &'static str,
    /// Lowest value allowed.
    pub min: f32,
    /// Highest value allowed.
    pub max: f32,
    /// Value of a new processor.
    pub default: f32,
    /// How the range is walked.
    pub scale: Scale,
    /// Duration of the ramp from the old value to the new one; 0 for a value that jumps.
    pub smooth_ms: f32,
    /// A set-up parameter takes effect in `prepare`; changing it live makes the host build a new
    /// processor and cross-fade to it. The others move while audio runs.
    pub setup: bool,
    /// One or two sentences: what is heard when it moves.
    pub doc: &'static str,
}

impl ParamSpec {
    /// A live parameter; smoothed over 20 ms.
    pub const fn new(name: &'static str, unit: &'static str, range: (f32, f32), default: f32) -> Self {
        Self {
            name,
            unit,
            min: range.0,
            max: range.1,
            default,
            scale: Scale::Linear,
            smooth_ms: 20.0,
            setup: false,
            doc: "",
        }
    }

    /// An on/off switch; 0 or 1.
    pub const fn toggle(name: &'static str, default: bool) -> Self {
        let p = Self::new(name, "", (0.0, 1.0), if default { 1.0 } else { 0.0 });
        p.scale(Scale::Toggle).smooth_ms(0.0)
    }

    /// One of several named values.
    pub const fn choice(name: &'static str, names: &'static [&'static str], default: usize) -> Self {
        let p = Self::new(name, "", (0.0, (names.len() - 1) as f32), default as f32);
        p.scale(Scale::Choice(names)).smooth_ms(0.0)
    }

    /// Sets the scale.
    pub const fn scale(mut self, scale: Scale) -> Self {
        self.scale = scale;
        self
    }

    /// Sets the ramp time.
    pub const fn smooth_ms(mut self, ms: f32) -> Self {
        self.smooth_ms = ms;
        self
    }

    /// Marks a parameter that takes effect in `prepare` only.
    pub const fn setup(mut self) -> Self {
        self.setup = true;
        self.smooth_ms = 0.0;
        self
    }

    /// Sets the description.
    pub const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// The nearest allowed value; NaN gives the default.
    ///
    /// Thread: any. Never allocates, locks or logs.
    pub fn clamp(&self, value: f32) -> f32 {
        if value.is_nan() {
            return self.default;
        }
        let v = value.clamp(self.min, self.max);
        match self.scale {
            Scale::Linear | Scale::Log => v,
            Scale::Int | Scale::Toggle | Scale::Choice(_) => v.round(),
        }
    }
}

/// The current target values of a processor's parameters, always within range.
#[derive(Clone, Debug)]
pub struct Bank<const N: usize> {
    specs: &'static [ParamSpec; N],
    values: [f32; N],
}

impl<const N: usize> Bank<N> {
    /// All parameters at their defaults.
    pub fn new(specs: &'static [ParamSpec; N]) -> Self {
        Self { specs, values: std::array::from_fn(|i| specs[i].default) }
    }

    /// Clamps and stores; returns the stored value. An `id` out of range is ignored (NaN returned).
    ///
    /// Thread: any. Never allocates, locks or logs.
    pub fn set(&mut self, id: usize, value: f32) -> f32 {
        let Some(spec) = self.specs.get(id) else { return f32::NAN };
        self.values[id] = spec.clamp(value);
        self.values[id]
    }

    /// The stored value; NaN if there is no such parameter.
    pub fn get(&self, id: usize) -> f32 {
        self.values.get(id).copied().unwrap_or(f32::NAN)
    }

    /// Ramp length of parameter `id` in samples.
    pub fn ramp(&self, id: usize, sample_rate: f64) -> usize {
        (f64::from(self.specs[id].smooth_ms) * 1e-3 * sample_rate).round() as usize
    }

    /// All values, to save and restore.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}
