//! One step of the network for every sample of a block: the inner loop.
//!
//! s ← s + a (tanh(w_in u + W s) − s), on eight nodes at a time. Rows of W are taken eight at a time
//! too, one per lane, so that no sum runs across lanes and the order of additions is fixed.

use super::lanes::{Lanes8, Loop};
use super::layout::{Blocks, Product, Sliced, Tiles, sort_by_length};
use super::matrix::Csr;
use crate::simd::{F32x8, LANES};

/// Most nodes there can be; a power of two, so that a masked index needs no bounds check.
pub const MAX_NODES: usize = 4096;
/// Keeps a slot number below `MAX_NODES`.
pub const MASK: usize = MAX_NODES - 1;

/// The values of all slots, aligned for vector loads; those past the last node stay 0.
#[repr(align(64))]
#[derive(Clone)]
pub struct Lanes(pub [f32; MAX_NODES]);

/// How W is laid out for the inner loop.
pub enum Layout {
    Sliced(Sliced),
    Blocks(Blocks),
    Tiles(Tiles),
}

impl Layout {
    /// About how long a step takes: entries × ns each (measured on Zen 4 with AVX2), more where the
    /// weights do not fit into a core's own cache and the loop is fast enough to wait for memory.
    fn cost(&self) -> f64 {
        let (entries, ns, bytes) = match self {
            Self::Sliced(w) => return w.entries() as f64 * 2.7,
            Self::Blocks(w) => (w.entries() as f64, 0.43, 34.0),
            Self::Tiles(w) => (w.entries() as f64, 0.68, 42.0),
        };
        let size = entries * bytes;
        let wait = if size < 2e6 {
            1.0
        } else if size < 16e6 {
            2.0
        } else {
            6.0
        };
        entries * ns * wait
    }
}

/// The network made ready to run. Nodes lie in slots; a slot order that groups rows of equal length
/// wastes no padding.
pub struct Net {
    /// Node in each slot, without the slots past the last node.
    pub order: Vec<u16>,
    w_in: Vec<F32x8>,
    leak: Vec<F32x8>,
    layout: Layout,
}

/// What the network remembers.
pub struct State {
    /// State of each slot.
    pub now: Box<Lanes>,
    next: Box<Lanes>,
    /// What rounding took from `now`: slow nodes move by less than its last bit.
    pub rest: Vec<F32x8>,
}

impl State {
    pub fn new(slices: usize) -> Self {
        let zero = || Box::new(Lanes([0.0; MAX_NODES]));
        Self { now: zero(), next: zero(), rest: vec![F32x8::ZERO; slices] }
    }

    pub fn clear(&mut self) {
        self.now.0.fill(0.0);
        self.next.0.fill(0.0);
        self.rest.fill(F32x8::ZERO);
    }
}

impl Net {
    /// Lays out a network of `w.n` nodes. Thread: control. Allocates.
    pub fn new(w: &Csr, w_in: &[f32], leak: &[f32]) -> Self {
        let n = w.n;
        let mut order: Vec<u16> = (0..n as u16).collect();
        let in_order = [Layout::Blocks(Blocks::new(w, &order)), Layout::Tiles(Tiles::new(w, &order))];
        let mut sorted = order.clone();
        sort_by_length(w, &mut sorted);
        let mut layout = Layout::Sliced(Sliced::new(w, &sorted));
        let mut sorted_wins = true;
        for other in in_order {
            if other.cost() <= layout.cost() {
                layout = other;
                sorted_wins = false;
            }
        }
        if sorted_wins {
            order = sorted;
        }
        let lanes = |x: &[f32]| vectors(order.iter().map(|&i| x[usize::from(i)]));
        Self { w_in: lanes(w_in), leak: lanes(leak), layout, order }
    }

    /// Groups of eight slots.
    pub fn slices(&self) -> usize {
        self.leak.len()
    }
}

/// Packs values eight to a vector, the last filled up with 0.
pub fn vectors(values: impl Iterator<Item = f32>) -> Vec<F32x8> {
    let values: Vec<f32> = values.collect();
    let pack = |c: &[f32]| F32x8(std::array::from_fn(|i| c.get(i).copied().unwrap_or(0.0)));
    values.chunks(LANES).map(pack).collect()
}

/// Runs the network over `input`; after each step `out[r][t]` = `rows[r]` · s, and the whole state
/// goes to `states` (slot order, `slices` vectors per sample) if there is room.
pub struct Run<'a> {
    pub net: &'a Net,
    pub state: &'a mut State,
    pub input: &'a [f32],
    /// Projections to take: `rows` holds `slices` vectors each, `out` has `stride` per row.
    pub rows: &'a [F32x8],
    pub out: &'a mut [f32],
    pub stride: usize,
    pub states: &'a mut [F32x8],
}

impl Loop for Run<'_> {
    #[inline(always)]
    fn run<L: Lanes8>(self, l: L) {
        // The choice of layout is made outside of the loop over samples.
        match &self.net.layout {
            Layout::Sliced(w) => self.steps(l, w),
            Layout::Blocks(w) => self.steps(l, w),
            Layout::Tiles(w) => self.steps(l, w),
        }
    }
}

impl Run<'_> {
    // Loops count: see layout.rs.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn steps<L: Lanes8>(self, l: L, w: &impl Product) {
        let net = self.net;
        let slices = net.slices();
        let rows = self.rows.len() / slices;
        let rest = &mut self.state.rest[..slices];
        let (w_in, leak) = (&net.w_in[..slices], &net.leak[..slices]);
        let (mut now, mut next) = (&mut *self.state.now, &mut *self.state.next);
        for (t, &u) in self.input.iter().enumerate() {
            // NaN counts as silence, and no product may overflow to a NaN.
            let u = l.splat(if u.is_nan() { 0.0 } else { u.clamp(-1e6, 1e6) });
            let to = &mut next.0.as_chunks_mut::<LANES>().0[..slices];
            let from = &now.0.as_chunks::<LANES>().0[..slices];
            for k in 0..slices {
                let drive = w.slice(l, k, now, l.mul(l.load(&w_in[k].0), u));
                let old = l.load(&from[k]);
                // The step with what earlier steps lost to rounding; then what this one loses.
                let toward = l.sub(l.tanh(drive), old);
                let step = l.mul_add(l.load(&leak[k].0), toward, l.load(&rest[k].0));
                let new = l.add(old, step);
                rest[k].0 = l.store(l.sub(step, l.sub(new, old)));
                to[k] = l.store(new);
            }
            std::mem::swap(&mut now, &mut next);
            let now = &now.0.as_chunks::<LANES>().0[..slices];
            for r in 0..rows {
                let row = &self.rows[r * slices..(r + 1) * slices];
                let mut sum = l.splat(0.0);
                for k in 0..slices {
                    sum = l.mul_add(l.load(&row[k].0), l.load(&now[k]), sum);
                }
                self.out[r * self.stride + t] = F32x8(l.store(sum)).sum();
            }
            if let Some(to) = self.states.get_mut(t * slices..(t + 1) * slices) {
                for k in 0..slices {
                    to[k].0 = now[k];
                }
            }
        }
        if self.input.len() % 2 == 1 {
            std::mem::swap(&mut self.state.now, &mut self.state.next);
        }
    }
}
