//! A matrix times a vector, laid out so that eight outputs are summed side by side.

use super::lanes::{load, padded, store};
use crate::simd::{F32x8, Kernel, LANES, Level};

/// Vectors of outputs that are summed at once: enough to hide the latency of an addition.
const TILE: usize = 8;

/// y = b + W x. Outputs are padded to whole vectors; the padding stays 0.
pub struct Linear {
    inputs: usize,
    rows: usize,
    /// Tiles of rows, one after the other; in each, input by input, the rows of the tile.
    tiles: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// `at(output, input)` gives the weights. Thread: control. Allocates.
    pub fn new(
        outputs: usize,
        inputs: usize,
        at: impl Fn(usize, usize) -> f32,
        bias: Option<&[f32]>,
    ) -> Self {
        let rows = padded(outputs);
        let mut tiles = Vec::with_capacity(rows * inputs);
        for first in (0..rows).step_by(TILE * LANES) {
            let last = rows.min(first + TILE * LANES);
            for i in 0..inputs {
                tiles.extend((first..last).map(|o| if o < outputs { at(o, i) } else { 0.0 }));
            }
        }
        let mut b = bias.map_or(Vec::new(), <[f32]>::to_vec);
        b.resize(rows, 0.0);
        Self { inputs, rows, tiles, bias: b }
    }

    /// Length of an output, padding included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// y = b. Thread: audio. Never allocates, locks or logs.
    pub fn start(&self, y: &mut [f32]) {
        y[..self.rows].copy_from_slice(&self.bias);
    }

    /// y += the columns from `first` on, times x. Thread: audio. Never allocates, locks or logs.
    pub fn add(&self, level: Level, first: usize, x: &[f32], y: &mut [f32]) {
        level.run(Add { layer: self, first, x, y });
    }

    /// y = b + W x. Thread: audio. Never allocates, locks or logs.
    pub fn apply(&self, level: Level, x: &[f32], y: &mut [f32]) {
        self.start(y);
        self.add(level, 0, &x[..self.inputs], y);
    }
}

struct Add<'a> {
    layer: &'a Linear,
    first: usize,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { layer, first, x, y } = self;
        for row in (0..layer.rows).step_by(TILE * LANES) {
            let size = (layer.rows - row).min(TILE * LANES);
            let from = row * layer.inputs + first * size;
            let w = &layer.tiles[from..from + x.len() * size];
            let y = &mut y[row..row + size];
            match size / LANES {
                1 => tile::<1, FMA>(w, x, y),
                2 => tile::<2, FMA>(w, x, y),
                3 => tile::<3, FMA>(w, x, y),
                4 => tile::<4, FMA>(w, x, y),
                5 => tile::<5, FMA>(w, x, y),
                6 => tile::<6, FMA>(w, x, y),
                7 => tile::<7, FMA>(w, x, y),
                _ => tile::<8, FMA>(w, x, y),
            }
        }
    }
}

#[inline(always)]
fn tile<const V: usize, const FMA: bool>(w: &[f32], x: &[f32], y: &mut [f32]) {
    let mut sum: [F32x8; V] = std::array::from_fn(|k| load(&y[k * LANES..]));
    for (column, &x) in w.chunks_exact(V * LANES).zip(x) {
        let x = F32x8::splat(x);
        for (k, s) in sum.iter_mut().enumerate() {
            *s = load(&column[k * LANES..]).mul_add::<FMA>(x, *s);
        }
    }
    for (k, s) in sum.into_iter().enumerate() {
        store(s, &mut y[k * LANES..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_equal_float64_at_every_tile_size() {
        for outputs in [1, 7, 8, 21, 33, 64, 65, 130] {
            let at = |o: usize, i: usize| ((o * 31 + i * 17) % 23) as f32 * 0.05 - 0.5;
            let bias: Vec<f32> = (0..outputs).map(|o| o as f32 * 0.01).collect();
            let layer = Linear::new(outputs, 5, at, Some(&bias));
            let x: Vec<f32> = (0..5).map(|i| i as f32 - 1.7).collect();
            for level in [Level::detect(), Level::Plain] {
                let mut y = vec![9.0; layer.rows()];
                layer.start(&mut y);
                layer.add(level, 0, &x[..2], &mut y);
                layer.add(level, 2, &x[2..], &mut y);
                for (o, y) in y.iter().enumerate() {
                    let want: f64 = if o < outputs {
                        f64::from(bias[o])
                            + (0..5).map(|i| f64::from(at(o, i)) * f64::from(x[i])).sum::<f64>()
                    } else {
                        0.0
                    };
                    assert!((f64::from(*y) - want).abs() < 1e-5);
                }
            }
        }
    }
}
