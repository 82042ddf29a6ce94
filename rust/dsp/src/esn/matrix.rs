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

    /// `n` × `n` of the same density, where the rows `8b..8b + 8` have their entries in the same
    /// columns. Columns are dealt to the groups of rows from shuffled decks, so that every node is
    /// read equally often: with a mask drawn for each block, a network of 100 nodes leaves a quarter
    /// of them unread and loses a seventh of its memory capacity.
    ///
    /// Draw order: for each group its columns (a new deck is shuffled when one is used up), then for
    /// each column, ascending, the values of its rows.
    pub fn blocks(&mut self, n: usize, density: f32) -> Csr {
        let mut m = Csr::empty(n);
        let groups = n.div_ceil(BLOCK_ROWS);
        let total = (f64::from(density) * (n * groups) as f64).round() as usize;
        let mut deck: Vec<usize> = Vec::new();
        for group in 0..groups {
            let count = (group + 1) * total / groups - group * total / groups;
            let mut columns: Vec<usize> = Vec::with_capacity(count);
            let mut held = vec![false; n];
            while columns.len() < count {
                // From the end of the deck, the first card that this group does not hold yet.
                match deck.iter().rposition(|&j| !held[j]) {
                    Some(at) => {
                        held[deck[at]] = true;
                        columns.push(deck.remove(at));
                    }
                    None => {
                        let mut fresh: Vec<usize> = (0..n).collect();
                        for i in (1..n).rev() {
                            let other = (f64::from(self.unit()) * (i + 1) as f64) as usize;
                            fresh.swap(i, other);
                        }
                        // What is left of the old deck is dealt first.
                        fresh.append(&mut deck);
                        deck = fresh;
                    }
                }
            }
            columns.sort_unstable();
            let rows = BLOCK_ROWS.min(n - group * BLOCK_ROWS);
            let values: Vec<f32> = (0..columns.len() * rows).map(|_| self.signed()).collect();
            for r in 0..rows {
                columns.iter().enumerate().for_each(|(c, &j)| m.push(j, values[c * rows + r]));
                m.end_row();
            }
        }
        m
    }
}
