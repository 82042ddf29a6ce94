//! Control side: drawing or taking the weights, `prepare`, state, arrays and taps.

use super::*;
use crate::simd::LANES;
use crate::{Block, Prepare, PrepareError, Processor, StateError, StateIo};
use kernel::{Net, Run, State, vectors};
use matrix::Draws;

impl Esn {
    /// 64 nodes, 10 % density, radius 0.99; audio passes unchanged.
    pub fn new() -> Self {
        let start = |id: usize| Smoothed::new(PARAMS[id].default);
        Self {
            params: Bank::new(&PARAMS),
            given: Default::default(),
            level: Level::detect(),
            prepared: None,
            scale: start(INPUT_SCALE),
            wet: start(WET),
            readout: Smoothed::new(0.0),
            texture: Smoothed::new(0.0),
            ramps: [0; 3],
        }
    }

    /// Uses this instruction set instead of the best one; tests compare them. Thread: control.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// The recurrent weights in use; none before `prepare`. Thread: control.
    pub fn w(&self) -> Option<&Csr> {
        self.prepared.as_ref().map(|p| &p.w)
    }

    /// The input weights in use, N; empty before `prepare`. Thread: control.
    pub fn w_in(&self) -> &[f32] {
        self.prepared.as_ref().map_or(&[], |p| &p.w_in)
    }

    /// The leak rates in use, N; empty before `prepare`. Thread: control.
    pub fn leak(&self) -> &[f32] {
        self.prepared.as_ref().map_or(&[], |p| &p.leak)
    }

    /// The spectral radius of the weights as they run, with its residual. Thread: control.
    pub fn achieved_radius(&self) -> Radius {
        self.prepared.as_ref().map_or(Radius::default(), |p| p.radius)
    }

    /// Runs on from the present state and writes every state: `states` [shape=(T, N), row-major],
    /// `input` [shape=(T,)], times the target of `input_scale`. The same inner loop as `process`,
    /// bit for bit. Thread: control. Allocates.
    ///
    /// # Panics
    /// Before `prepare`, or if `states` is not T × N.
    pub fn run_states(&mut self, input: &[f32], states: &mut [f32]) {
        const CHUNK: usize = 256;
        let scale = self.scale.target();
        let p = self.prepared.as_mut().expect("prepare comes first");
        let n = p.w.n;
        assert_eq!(states.len(), input.len() * n, "states must hold T × N = {} × {n}", input.len());
        let slices = p.net.slices();
        let mut slots = vec![F32x8::ZERO; CHUNK * slices];
        for (x, s) in input.chunks(CHUNK).zip(states.chunks_mut(CHUNK * n)) {
            let x: Vec<f32> = x.iter().map(|x| x * scale).collect();
            lanes::run(
                self.level,
                Run {
                    net: &p.net,
                    state: &mut p.state,
                    input: &x,
                    rows: &[],
                    out: &mut [],
                    stride: 0,
                    states: &mut slots[..x.len() * slices],
                },
            );
            for (s, slots) in s.chunks_exact_mut(n).zip(slots.chunks_exact(slices)) {
                for (slot, &node) in p.net.order.iter().enumerate() {
                    s[usize::from(node)] = slots[slot / LANES].0[slot % LANES];
                }
            }
        }
    }

    /// Puts the network into this state (one number per node), to run on from. Thread: control.
    ///
    /// # Panics
    /// Before `prepare`, or if `state` has not N numbers.
    pub fn set_state(&mut self, state: &[f32]) {
        let p = self.prepared.as_mut().expect("prepare comes first");
        assert_eq!(state.len(), p.w.n, "one number per node");
        p.state.clear();
        for (slot, &node) in p.net.order.iter().enumerate() {
            p.state.now.0[slot] = state[usize::from(node)];
        }
    }

    /// The array `id` as given, checked, or None if it is to be made here.
    fn given(&self, id: usize, len: usize, range: (f32, f32)) -> Result<Option<&[f32]>, PrepareError> {
        let (data, name) = (&self.given[id][..], ARRAYS[id].name);
        if data.is_empty() {
            return Ok(None);
        }
        if data.len() != len {
            return Err(PrepareError(format!(
                "esn: array `{name}` has {} numbers; {len} are needed for nodes = {}",
                data.len(),
                self.params.get(NODES)
            )));
        }
        if let Some(i) = data.iter().position(|v| !(range.0..=range.1).contains(v)) {
            return Err(PrepareError(format!(
                "esn: array `{name}` has {} at index {i}; allowed is {} to {}",
                data[i], range.0, range.1
            )));
        }
        Ok(Some(data))
    }

    fn weights(&self) -> Result<(Csr, Vec<f32>, Radius), PrepareError> {
        let n = self.params.get(NODES) as usize;
        let any = (-MAX_WEIGHT, MAX_WEIGHT);
        let given_w = self.given(W, n * n, any)?;
        let given_in = self.given(W_IN, n, any)?;
        let mut draws = Draws::new(self.params.get(SEED) as u64, 0);
        let drawn_in: Vec<f32> = (0..n).map(|_| draws.signed()).collect();
        let w_in = given_in.map_or(drawn_in, <[f32]>::to_vec);
        let mut warm = Warm::default();
        if let Some(dense) = given_w {
            let w = Csr::from_dense(n, dense);
            let radius = spectral_radius(&w, &mut warm);
            return Ok((w, w_in, radius));
        }
        let density = self.params.get(DENSITY);
        let mut w = match self.params.get(TOPOLOGY) {
            0.0 => draws.random(n, density),
            _ => draws.blocks(n, density),
        };
        let raw = spectral_radius(&w, &mut warm);
        if raw.value == 0.0 {
            return Ok((w, w_in, raw));
        }
        // Twenty bits of the factor: last-bit differences of a machine's arithmetic in the eigenvalue
        // do not reach the weights.
        let factor = f64::from(self.params.get(SPECTRAL_RADIUS)) / raw.value;
        w.scale(f64::from_bits((factor.to_bits() + (1 << 31)) & !((1 << 32) - 1)));
        let radius = spectral_radius(&w, &mut warm);
        Ok((w, w_in, radius))
    }

    fn leaks(&self) -> Result<Vec<f32>, PrepareError> {
        let n = self.params.get(NODES) as usize;
        if let Some(given) = self.given(LEAK, n, (0.0, 1.0))? {
            return Ok(given.to_vec());
        }
        let [low, high] = [LEAK_MIN, LEAK_MAX].map(|id| f64::from(self.params.get(id)).ln());
        let at = |i: usize| if n > 1 { i as f64 / (n - 1) as f64 } else { 0.0 };
        Ok((0..n).map(|i| ((low + at(i) * (high - low)).exp() as f32).clamp(0.0, 1.0)).collect())
    }

    /// How loud each mode is to be.
    fn aim(&mut self, ramp: usize) {
        let mode = self.params.get(MODE);
        self.readout.set(f32::from(u8::from(mode == READOUT)), ramp);
        self.texture.set(f32::from(u8::from(mode == TEXTURE)), ramp);
    }
}

impl Prepared {
    fn set_readout(&mut self, w_out: &[f32]) {
        self.bias = w_out[0];
        for (slot, &node) in self.net.order.iter().enumerate() {
            self.rows[slot / LANES].0[slot % LANES] = w_out[1 + usize::from(node)];
        }
    }
}

impl Default for Esn {
    fn default() -> Self {
        Self::new()
    }
}

impl Processor for Esn {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn prepare(&mut self, spec: &Prepare) -> Result<(), PrepareError> {
        let (w, w_in, radius) = self.weights()?;
        let leak = self.leaks()?;
        let w_out = self.given(W_OUT, w.n + 1, (-MAX_WEIGHT, MAX_WEIGHT))?.map(<[f32]>::to_vec);
        let net = Net::new(&w, &w_in, &leak);
        let slices = net.slices();
        let mut draws = Draws::new(self.params.get(SEED) as u64, 1);
        let mut rows = vec![F32x8::ZERO; slices];
        for _ in 0..spec.channels {
            let p: Vec<f32> = (0..w.n).map(|_| draws.signed()).collect();
            rows.extend(vectors(net.order.iter().map(|&i| p[usize::from(i)])));
        }
        let mut made = Prepared {
            state: State::new(slices),
            net,
            radius,
            rows,
            bias: 0.0,
            input: vec![0.0; spec.max_block],
            out: vec![0.0; spec.max_block * (1 + spec.channels)],
            max_block: spec.max_block,
            voices: vec![mix::Voice::default(); spec.channels],
            rates: mix::Rates::new(spec.sample_rate),
            w,
            w_in,
            leak,
        };
        if let Some(w_out) = w_out {
            made.set_readout(&w_out);
        }
        self.prepared = Some(made);
        self.ramps = [INPUT_SCALE, WET, MODE].map(|id| self.params.ramp(id, spec.sample_rate));
        // Modes cross-fade over the same time as `wet` moves.
        self.ramps[2] = self.ramps[1];
        self.aim(0);
        self.reset();
        Ok(())
    }

    fn tail_samples(&self) -> usize {
        let slowest = self.leak().iter().copied().filter(|&a| a > 0.0).fold(1.0, f32::min);
        // To -60 dB, of the slowest node on its own; the network itself may ring longer.
        let state = (1000f32.ln() / slowest).ceil() as usize;
        match self.params.get(MODE) {
            m if m == READOUT || m == TEXTURE => state,
            _ => 0,
        }
    }

    fn param(&self, id: usize) -> f32 {
        self.params.get(id)
    }

    fn tap_len(&self, id: usize) -> usize {
        match (id, &self.prepared) {
            (TAP_STATE, Some(p)) => p.w.n,
            (TAP_RADIUS, Some(_)) => 1,
            _ => 0,
        }
    }

    fn array_len(&self, id: usize) -> usize {
        let n = self.prepared.as_ref().map_or(0, |p| p.w.n);
        match id {
            _ if n == 0 => 0,
            W => n * n,
            W_IN | LEAK => n,
            W_OUT => n + 1,
            _ => 0,
        }
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(self.params.values_mut())?;
        for s in [&mut self.scale, &mut self.wet, &mut self.readout, &mut self.texture] {
            s.state(io)?;
        }
        let Some(p) = &mut self.prepared else { return Ok(()) };
        let slices = p.net.slices();
        io.f32s(&mut p.state.now.0[..slices * LANES])?;
        p.state.rest.iter_mut().chain(&mut p.rows[..slices]).try_for_each(|v| io.f32s(&mut v.0))?;
        io.f32(&mut p.bias)?;
        p.voices.iter_mut().try_for_each(|v| v.state(io))
    }

    // ---- audio: the rest is in mix.rs --------------------------------------------------------

    fn set_param(&mut self, id: usize, value: f32) {
        let v = self.params.set(id, value);
        match id {
            INPUT_SCALE => self.scale.set(v, self.ramps[0]),
            WET => self.wet.set(v, self.ramps[1]),
            MODE => self.aim(self.ramps[2]),
            _ => {}
        }
    }

    fn set_array(&mut self, id: usize, data: &[f32]) -> bool {
        match (&mut self.prepared, id) {
            (None, W..=W_OUT) => {
                self.given[id] = data.to_vec();
                true
            }
            (Some(p), W_OUT) => {
                let good = data.len() == p.w.n + 1 && data.iter().all(|v| v.abs() <= MAX_WEIGHT);
                if good {
                    p.set_readout(data);
                }
                good
            }
            _ => false,
        }
    }

    fn read_tap(&self, id: usize, out: &mut [f32]) {
        match (id, &self.prepared) {
            (TAP_STATE, Some(p)) => {
                for (slot, &node) in p.net.order.iter().enumerate() {
                    out[usize::from(node)] = p.state.now.0[slot];
                }
            }
            (TAP_RADIUS, Some(p)) => out[0] = p.radius.value as f32,
            _ => {}
        }
    }

    fn reset(&mut self) {
        for s in [&mut self.scale, &mut self.wet, &mut self.readout, &mut self.texture] {
            s.snap();
        }
        if let Some(p) = &mut self.prepared {
            p.state.clear();
            p.voices.fill(mix::Voice::default());
        }
    }

    fn process(&mut self, block: &mut Block<'_>) {
        self.run_block(block);
    }
}
