//! Ways to lay out W for the inner loop. In each, rows are taken eight at a time (a slice), one row
//! per lane, so that no sum runs across lanes and the order of additions is fixed.
//!
//! The inner loops count instead of zipping iterators: those become calls out of the vector code, which
//! cost more than a slice of a small network.

use super::kernel::{Lanes, MASK};
use super::lanes::Lanes8;
use super::matrix::Csr;
use crate::simd::{F32x8, LANES};
use std::collections::BTreeMap;

/// A layout that can be multiplied with the state.
pub trait Product {
    /// `start` + the rows of slice `k` times the state.
    fn slice<L: Lanes8>(&self, l: L, k: usize, s: &Lanes, start: L::V) -> L::V;
}

/// Puts rows of equal length next to each other.
pub fn sort_by_length(w: &Csr, order: &mut [u16]) {
    order.sort_by_key(|&i| std::cmp::Reverse(w.ptr[usize::from(i) + 1] - w.ptr[usize::from(i)]));
}

/// Slot of each node.
fn slots(order: &[u16]) -> Vec<u16> {
    let mut slot = vec![0; order.len()];
    order.iter().enumerate().for_each(|(s, &i)| slot[usize::from(i)] = s as u16);
    slot
}

/// One column index per entry; rows padded to the longest of their slice.
#[derive(Default)]
pub struct Sliced {
    /// Slice `k` holds the entries `ptr[k]..ptr[k + 1]`.
    ptr: Vec<u32>,
    /// Column of each entry, as slot; padding points at slot 0 with weight 0.
    col: Vec<[u16; LANES]>,
    val: Vec<F32x8>,
}

impl Sliced {
    /// Vectors of weights.
    pub fn entries(&self) -> usize {
        self.val.len()
    }

    pub fn new(w: &Csr, order: &[u16]) -> Self {
        let slot = slots(order);
        let mut out = Self { ptr: vec![0], ..Self::default() };
        for rows in order.chunks(LANES) {
            let first = out.col.len();
            for (lane, &i) in rows.iter().enumerate() {
                for (k, (j, v)) in w.row(usize::from(i)).enumerate() {
                    if first + k == out.col.len() {
                        out.col.push([0; LANES]);
                        out.val.push(F32x8::ZERO);
                    }
                    out.col[first + k][lane] = slot[j];
                    out.val[first + k].0[lane] = v;
                }
            }
            out.ptr.push(out.col.len() as u32);
        }
        out
    }
}

impl Product for Sliced {
    #[inline(always)]
    fn slice<L: Lanes8>(&self, l: L, k: usize, s: &Lanes, start: L::V) -> L::V {
        let range = self.ptr[k] as usize..self.ptr[k + 1] as usize;
        let (c2, c1) = self.col[range.clone()].as_chunks::<2>();
        let (v2, v1) = self.val[range].as_chunks::<2>();
        let (mut a, mut b) = (start, l.splat(0.0));
        for i in 0..c2.len().min(v2.len()) {
            a = l.mul_add(l.load(&v2[i][0].0), l.gather(&s.0, &c2[i][0]), a);
            b = l.mul_add(l.load(&v2[i][1].0), l.gather(&s.0, &c2[i][1]), b);
        }
        for i in 0..c1.len().min(v1.len()) {
            a = l.mul_add(l.load(&v1[i].0), l.gather(&s.0, &c1[i]), a);
        }
        l.add(a, b)
    }
}

/// One column index per eight rows: every entry brings its seven neighbours along.
#[derive(Default)]
pub struct Blocks {
    /// Slice `k` holds the blocks `ptr[k]..ptr[k + 1]`.
    ptr: Vec<u32>,
    /// Column of each block, as slot.
    col: Vec<u16>,
    val: Vec<F32x8>,
}

impl Blocks {
    /// Vectors of weights.
    pub fn entries(&self) -> usize {
        self.val.len()
    }

    pub fn new(w: &Csr, order: &[u16]) -> Self {
        let slot = slots(order);
        let mut out = Self { ptr: vec![0], ..Self::default() };
        for rows in order.chunks(LANES) {
            let mut found = BTreeMap::<u16, F32x8>::new();
            for (lane, &i) in rows.iter().enumerate() {
                w.row(usize::from(i)).for_each(|(j, v)| found.entry(slot[j]).or_default().0[lane] = v);
            }
            out.col.extend(found.keys());
            out.val.extend(found.values());
            out.ptr.push(out.col.len() as u32);
        }
        out
    }
}

impl Product for Blocks {
    #[inline(always)]
    fn slice<L: Lanes8>(&self, l: L, k: usize, s: &Lanes, start: L::V) -> L::V {
        let range = self.ptr[k] as usize..self.ptr[k + 1] as usize;
        let (c4, c1) = self.col[range.clone()].as_chunks::<4>();
        let (v4, v1) = self.val[range].as_chunks::<4>();
        // Four sums, so that one block need not wait for the one before.
        let (mut a, mut b, mut c, mut d) = (start, l.splat(0.0), l.splat(0.0), l.splat(0.0));
        for i in 0..c4.len().min(v4.len()) {
            let (at, v) = (&c4[i], &v4[i]);
            a = l.mul_add(l.load(&v[0].0), l.splat(s.0[usize::from(at[0]) & MASK]), a);
            b = l.mul_add(l.load(&v[1].0), l.splat(s.0[usize::from(at[1]) & MASK]), b);
            c = l.mul_add(l.load(&v[2].0), l.splat(s.0[usize::from(at[2]) & MASK]), c);
            d = l.mul_add(l.load(&v[3].0), l.splat(s.0[usize::from(at[3]) & MASK]), d);
        }
        for i in 0..c1.len().min(v1.len()) {
            a = l.mul_add(l.load(&v1[i].0), l.splat(s.0[usize::from(c1[i]) & MASK]), a);
        }
        l.add(l.add(a, b), l.add(c, d))
    }
}

/// Tiles of 8 × 8, in rounds: each takes one entry per row by permuting the tile's eight states in
/// a register, which is cheaper than fetching them one by one.
#[derive(Default)]
pub struct Tiles {
    /// Slice `k` holds the rounds `ptr[k]..ptr[k + 1]`.
    ptr: Vec<u32>,
    /// Which eight slots each round takes from, and the lane that each row takes.
    tile: Vec<u16>,
    lane: Vec<[u8; LANES]>,
    val: Vec<F32x8>,
}

impl Tiles {
    /// Vectors of weights.
    pub fn entries(&self) -> usize {
        self.val.len()
    }

    pub fn new(w: &Csr, order: &[u16]) -> Self {
        let slot = slots(order);
        let mut out = Self { ptr: vec![0], ..Self::default() };
        for rows in order.chunks(LANES) {
            // Of each tile, the rounds so far and how many of them each row has filled.
            let mut found = BTreeMap::<u16, (Vec<([u8; LANES], F32x8)>, [usize; LANES])>::new();
            for (row, &i) in rows.iter().enumerate() {
                for (j, v) in w.row(usize::from(i)) {
                    let (rounds, filled) = found.entry(slot[j] / LANES as u16).or_default();
                    if filled[row] == rounds.len() {
                        rounds.push(Default::default());
                    }
                    let round = &mut rounds[filled[row]];
                    round.0[row] = (slot[j] % LANES as u16) as u8;
                    round.1.0[row] = v;
                    filled[row] += 1;
                }
            }
            for (tile, (rounds, _)) in found {
                for (lane, val) in rounds {
                    out.tile.push(tile);
                    out.lane.push(lane);
                    out.val.push(val);
                }
            }
            out.ptr.push(out.tile.len() as u32);
        }
        out
    }
}

impl Product for Tiles {
    #[inline(always)]
    fn slice<L: Lanes8>(&self, l: L, k: usize, s: &Lanes, start: L::V) -> L::V {
        let range = self.ptr[k] as usize..self.ptr[k + 1] as usize;
        let s = s.0.as_chunks::<LANES>().0;
        let (t2, t1) = self.tile[range.clone()].as_chunks::<2>();
        let (l2, l1) = self.lane[range.clone()].as_chunks::<2>();
        let (v2, v1) = self.val[range].as_chunks::<2>();
        let (mut a, mut b) = (start, l.splat(0.0));
        for i in 0..t2.len().min(l2.len()).min(v2.len()) {
            a = l.mul_add(l.load(&v2[i][0].0), take(l, s, t2[i][0], &l2[i][0]), a);
            b = l.mul_add(l.load(&v2[i][1].0), take(l, s, t2[i][1], &l2[i][1]), b);
        }
        for i in 0..t1.len().min(l1.len()).min(v1.len()) {
            a = l.mul_add(l.load(&v1[i].0), take(l, s, t1[i], &l1[i]), a);
        }
        l.add(a, b)
    }
}

/// The states that one round of a tile multiplies.
#[inline(always)]
fn take<L: Lanes8>(l: L, s: &[[f32; LANES]], tile: u16, lane: &[u8; LANES]) -> L::V {
    l.permute(l.load(&s[usize::from(tile) & (MASK / LANES)]), lane)
}
