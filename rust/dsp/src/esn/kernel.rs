//! One step of the network for every sample of a block: the inner loop.
//!
//! s ← s + a (tanh(w_in u + W s) − s), on eight nodes at a time. Rows of W are taken eight at a time
//! too, one per lane, so that no sum runs across lanes and the order of additions is fixed.

use super::matrix::{BLOCK_ROWS, Csr};
use crate::simd::{F32x8, Kernel, LANES};

/// Most nodes there can be; a power of two, so that a masked index needs no bounds check.
pub const MAX_NODES: usize = 4096;
const MASK: usize = MAX_NODES - 1;

/// The values of all slots, aligned for vector loads; those past the last node stay 0.
#[repr(align(64))]
#[derive(Clone)]
pub struct Lanes(pub [f32; MAX_NODES]);

impl Lanes {
    #[inline(always)]
    fn vector(&self, k: usize) -> F32x8 {
        F32x8(self.0.as_chunks::<LANES>().0[k])
    }
}

/// How W is laid out for the inner loop. Each slice is eight rows.
pub enum Layout {
    /// One column index per entry; rows padded to the longest of their slice.
    Sliced {
        /// Slice `k` holds the entries `ptr[k]..ptr[k + 1]`.
        ptr: Vec<u32>,
        /// Column of each entry, as slot; padding points at slot 0 with weight 0.
        col: Vec<[u16; LANES]>,
        /// Weights.
        val: Vec<F32x8>,
    },
    /// One column index per eight rows.
    Blocks {
        /// Slice `k` holds the blocks `ptr[k]..ptr[k + 1]`.
        ptr: Vec<u32>,
        /// Column of each block.
        col: Vec<u16>,
        /// Weights.
        val: Vec<F32x8>,
    },
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
        let blocks = blocks_of(w);
        // A block costs about a sixth of eight gathered entries (measured), whatever it holds.
        let layout = if blocks * 6 * LANES <= w.nnz() * 6 {
            blocked(w, &order)
        } else {
            order.sort_by_key(|&i| std::cmp::Reverse(w.ptr[usize::from(i) + 1] - w.ptr[usize::from(i)]));
            sliced(w, &order)
        };
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

/// Number of 8 × 1 blocks that hold an entry.
fn blocks_of(w: &Csr) -> usize {
    let mut seen = vec![usize::MAX; w.n];
    let mut count = 0;
    for i in 0..w.n {
        for (j, _) in w.row(i) {
            if seen[j] != i / BLOCK_ROWS {
                seen[j] = i / BLOCK_ROWS;
                count += 1;
            }
        }
    }
    count
}

fn blocked(w: &Csr, order: &[u16]) -> Layout {
    let (mut ptr, mut col, mut val) = (vec![0], Vec::new(), Vec::new());
    for rows in order.chunks(LANES) {
        let mut found = std::collections::BTreeMap::<usize, F32x8>::new();
        for (lane, &i) in rows.iter().enumerate() {
            for (j, v) in w.row(usize::from(i)) {
                found.entry(j).or_default().0[lane] = v;
            }
        }
        for (j, v) in found {
            col.push(j as u16);
            val.push(v);
        }
        ptr.push(col.len() as u32);
    }
    Layout::Blocks { ptr, col, val }
}

fn sliced(w: &Csr, order: &[u16]) -> Layout {
    let mut slot = vec![0u16; w.n];
    order.iter().enumerate().for_each(|(s, &i)| slot[usize::from(i)] = s as u16);
    let (mut ptr, mut col, mut val) = (vec![0], Vec::new(), Vec::new());
    for rows in order.chunks(LANES) {
        let first = col.len();
        for (lane, &i) in rows.iter().enumerate() {
            for (k, (j, v)) in w.row(usize::from(i)).enumerate() {
                if first + k == col.len() {
                    col.push([0; LANES]);
                    val.push(F32x8::ZERO);
                }
                col[first + k][lane] = slot[j];
                val[first + k].0[lane] = v;
            }
        }
        ptr.push(col.len() as u32);
    }
    Layout::Sliced { ptr, col, val }
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

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let net = self.net;
        let slices = net.slices();
        let (mut now, mut next) = (&mut *self.state.now, &mut *self.state.next);
        for (t, &u) in self.input.iter().enumerate() {
            // NaN counts as silence, and no product may overflow to a NaN.
            let u = F32x8::splat(if u.is_nan() { 0.0 } else { u.clamp(-1e6, 1e6) });
            let to = next.0.as_chunks_mut::<LANES>().0;
            for (k, to) in to.iter_mut().enumerate().take(slices) {
                let sum = net.layout.dot::<FMA>(k, now, net.w_in[k] * u);
                let old = now.vector(k);
                // The step with what earlier steps lost to rounding; then what this one loses.
                let step = net.leak[k].mul_add::<FMA>(sum.tanh::<FMA>() - old, self.state.rest[k]);
                let new = old + step;
                self.state.rest[k] = step - (new - old);
                *to = new.0;
            }
            std::mem::swap(&mut now, &mut next);
            for (r, row) in self.rows.chunks_exact(slices).enumerate() {
                let sum = (0..slices).fold(F32x8::ZERO, |s, k| row[k].mul_add::<FMA>(now.vector(k), s));
                self.out[r * self.stride + t] = sum.sum();
            }
            if let Some(to) = self.states.get_mut(t * slices..(t + 1) * slices) {
                to.iter_mut().enumerate().for_each(|(k, v)| *v = now.vector(k));
            }
        }
        if self.input.len() % 2 == 1 {
            std::mem::swap(&mut self.state.now, &mut self.state.next);
        }
    }
}

impl Layout {
    /// `start` + the rows of slice `k` times the state.
    #[inline(always)]
    fn dot<const FMA: bool>(&self, k: usize, s: &Lanes, start: F32x8) -> F32x8 {
        match self {
            Self::Sliced { ptr, col, val } => {
                let range = ptr[k] as usize..ptr[k + 1] as usize;
                let mut sums = [start, F32x8::ZERO];
                for (i, (c, v)) in col[range.clone()].iter().zip(&val[range]).enumerate() {
                    let x = F32x8(std::array::from_fn(|l| s.0[usize::from(c[l]) & MASK]));
                    sums[i % 2] = v.mul_add::<FMA>(x, sums[i % 2]);
                }
                sums[0] + sums[1]
            }
            Self::Blocks { ptr, col, val } => {
                let range = ptr[k] as usize..ptr[k + 1] as usize;
                // Four sums, so that one block need not wait for the one before.
                let mut sums = [start, F32x8::ZERO, F32x8::ZERO, F32x8::ZERO];
                let (c4, c1) = col[range.clone()].as_chunks::<4>();
                let (v4, v1) = val[range].as_chunks::<4>();
                for (c, v) in c4.iter().zip(v4) {
                    for i in 0..4 {
                        let x = F32x8::splat(s.0[usize::from(c[i]) & MASK]);
                        sums[i] = v[i].mul_add::<FMA>(x, sums[i]);
                    }
                }
                for (c, v) in c1.iter().zip(v1) {
                    sums[0] = v.mul_add::<FMA>(F32x8::splat(s.0[usize::from(*c) & MASK]), sums[0]);
                }
                (sums[0] + sums[1]) + (sums[2] + sums[3])
            }
        }
    }
}
