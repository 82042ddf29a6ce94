//! An explicit coupling matrix instead of the mean field.

use super::kernel::{Field, Osc};
use super::ops::Ops;
use crate::simd::{F32x8, LANES};

/// Weights by row: row i sums over the oscillators that pull oscillator i. Kept compressed (CSR), or
/// as full rows side by side where that is the shorter way.
#[derive(Clone, Debug, Default)]
pub(super) struct Coupling {
    starts: Vec<u32>,
    columns: Vec<u32>,
    weights: Vec<f32>,
    /// For each vector of eight rows, one column after the other; empty if compressed.
    tiles: Vec<F32x8>,
}

/// Most oscillators a full matrix may have.
pub(super) const DENSE_MOST: usize = 512;
/// A full row costs as much per column as this part of a compressed entry.
const FULL_FROM: f64 = 0.1;

impl Coupling {
    /// From a dense row-major n×n matrix; zeros are not kept.
    pub fn dense(n: usize, matrix: &[f32]) -> Result<Self, String> {
        if matrix.len() != n * n {
            return Err(format!("matrix has {} values; {n} oscillators need {}", matrix.len(), n * n));
        }
        let edges = matrix.iter().enumerate().filter(|(_, w)| **w != 0.0);
        Self::from_edges(n, edges.map(|(k, w)| (k / n, k % n, *w)).collect())
    }

    /// From flat triplets [i, j, weight, …]; repeated pairs add up.
    pub fn sparse(n: usize, edges: &[f32]) -> Result<Self, String> {
        if !edges.len().is_multiple_of(3) {
            return Err(format!("edges has {} values; it must be triplets [i, j, weight, ...]", edges.len()));
        }
        let index = |v: f32| {
            if v >= 0.0 && v < n as f32 && v.fract() == 0.0 {
                Ok(v as usize)
            } else {
                Err(format!("edges names oscillator {v}; allowed are whole numbers from 0 to {}", n - 1))
            }
        };
        let triplets: Result<Vec<_>, String> =
            edges.chunks_exact(3).map(|e| Ok((index(e[0])?, index(e[1])?, e[2]))).collect();
        Self::from_edges(n, triplets?)
    }

    fn from_edges(n: usize, mut edges: Vec<(usize, usize, f32)>) -> Result<Self, String> {
        if let Some(e) = edges.iter().find(|e| !e.2.is_finite()) {
            return Err(format!("the coupling weight from {} to {} is {}", e.1, e.0, e.2));
        }
        edges.sort_by_key(|e| (e.0, e.1));
        let mut starts = vec![0u32; n + 1];
        edges.iter().for_each(|e| starts[e.0 + 1] += 1);
        (0..n).for_each(|i| starts[i + 1] += starts[i]);
        let mut tiles = Vec::new();
        if n <= DENSE_MOST && edges.len() as f64 > FULL_FROM * (n * n) as f64 {
            tiles = vec![F32x8::ZERO; n * n.div_ceil(LANES)];
            for (i, j, w) in &edges {
                tiles[i / LANES * n + j].0[i % LANES] += w;
            }
        }
        Ok(Self {
            starts,
            columns: edges.iter().map(|e| e.1 as u32).collect(),
            weights: edges.iter().map(|e| e.2).collect(),
            tiles,
        })
    }

    /// Writes Σ_j w_ij e^{jθ_j} for each oscillator i.
    #[inline(always)]
    pub fn field<O: Ops>(&self, o: O, osc: &[Osc], out: &mut [Field]) {
        if self.tiles.is_empty() {
            return self.compressed(osc, out);
        }
        let n = self.starts.len() - 1;
        for (row, out) in self.tiles.chunks_exact(n).zip(out) {
            // Even and odd columns apart, so that one sum need not wait for the other.
            let (mut re, mut im) = ([F32x8::ZERO; 2], [F32x8::ZERO; 2]);
            for (weights, from) in row.chunks(LANES).zip(osc) {
                for (j, w) in weights.iter().enumerate() {
                    re[j % 2] = o.fma(*w, F32x8::splat(from.cos.0[j]), re[j % 2]);
                    im[j % 2] = o.fma(*w, F32x8::splat(from.sin.0[j]), im[j % 2]);
                }
            }
            (out.re, out.im) = (o.add(re[0], re[1]), o.add(im[0], im[1]));
        }
    }

    #[inline(always)]
    fn compressed(&self, osc: &[Osc], out: &mut [Field]) {
        for i in 0..self.starts.len().saturating_sub(1) {
            let row = self.starts[i] as usize..self.starts[i + 1] as usize;
            let (mut re, mut im) = (0.0f32, 0.0f32);
            for (j, w) in self.columns[row.clone()].iter().zip(&self.weights[row]) {
                let (v, lane) = (*j as usize / LANES, *j as usize % LANES);
                let (c, s) = (osc[v].cos.0[lane], osc[v].sin.0[lane]);
                (re, im) = (re + w * c, im + w * s);
            }
            out[i / LANES].re.0[i % LANES] = re;
            out[i / LANES].im.0[i % LANES] = im;
        }
    }
}
