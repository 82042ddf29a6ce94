//! The recurrent weights: drawn from a seed or given, and kept as compressed sparse rows.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Rows that share their columns in a matrix of topology `blocks`.
pub const BLOCK_ROWS: usize = 8;

/// A square sparse matrix, compressed sparse rows, float32 values, columns ascending in each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Csr {
    /// Rows and columns, at most 4096.
    pub n: usize,
    /// Row `i` holds the entries `ptr[i]..ptr[i + 1]`; `n + 1` numbers.
    pub ptr: Vec<u32>,
    /// Column of each entry.
    pub col: Vec<u16>,
    /// Value of each entry.
    pub val: Vec<f32>,
}

impl Csr {
    /// The non-zeros of a dense row-major `n` × `n` matrix.
    pub fn from_dense(n: usize, dense: &[f32]) -> Self {
        assert_eq!(dense.len(), n * n);
        let mut m = Self::empty(n);
        for row in dense.chunks_exact(n.max(1)) {
            for (j, &v) in row.iter().enumerate() {
                if v != 0.0 {
                    m.push(j, v);
                }
            }
            m.end_row();
        }
        m
    }

    fn empty(n: usize) -> Self {
        Self { n, ptr: vec![0], col: vec![], val: vec![] }
    }

    fn push(&mut self, col: usize, val: f32) {
        self.col.push(col as u16);
        self.val.push(val);
    }

    fn end_row(&mut self) {
        self.ptr.push(self.col.len() as u32);
    }

    /// The entries of row `i` as (column, value).
    pub fn row(&self, i: usize) -> impl Iterator<Item = (usize, f32)> + Clone {
        let range = self.ptr[i] as usize..self.ptr[i + 1] as usize;
        self.col[range.clone()].iter().map(|&c| usize::from(c)).zip(self.val[range].iter().copied())
    }

    /// Number of entries stored.
    pub fn nnz(&self) -> usize {
        self.val.len()
    }

    /// Dense row-major copy.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.n * self.n];
        for i in 0..self.n {
            for (j, v) in self.row(i) {
                out[i * self.n + j] = v;
            }
        }
        out
    }

    /// Multiplies every value.
    pub fn scale(&mut self, factor: f64) {
        self.val.iter_mut().for_each(|v| *v = (f64::from(*v) * factor) as f32);
    }
}

/// The seeded source of all random weights. ChaCha with 8 rounds gives the same numbers on every
/// machine; one draw takes 24 bits of one 32-bit word, so every value is exact in float32.
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// Stream 0 draws the network, stream 1 the texture projection: they do not disturb each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [-1, 1).
    pub fn signed(&mut self) -> f32 {
        2.0 * self.unit() - 1.0
    }

    /// `n` × `n`, each entry kept with probability `density`: row by row, the mask is drawn, then
    /// the value if it is kept.
    pub fn random(&mut self, n: usize, density: f32) -> Csr {
        let mut m = Csr::empty(n);
        for _ in 0..n {
            for j in 0..n {
                if self.unit() < density {
                    let v = self.signed();
                    m.push(j, v);
                }
            }
            m.end_row();
        }
        m
    }

    /// `n` × `n` of the same expected density, where the rows `8b..8b + 8` have their entries in the
    /// same columns: for each group and column the mask is drawn, then the values of its rows.
    pub fn blocks(&mut self, n: usize, density: f32) -> Csr {
        let mut m = Csr::empty(n);
        for first in (0..n).step_by(BLOCK_ROWS) {
            let rows = BLOCK_ROWS.min(n - first);
            let mut kept: Vec<(usize, [f32; BLOCK_ROWS])> = Vec::new();
            for j in 0..n {
                if self.unit() < density {
                    let mut v = [0.0; BLOCK_ROWS];
                    v[..rows].iter_mut().for_each(|v| *v = self.signed());
                    kept.push((j, v));
                }
            }
            for r in 0..rows {
                kept.iter().for_each(|(j, v)| m.push(*j, v[r]));
                m.end_row();
            }
        }
        m
    }
}
