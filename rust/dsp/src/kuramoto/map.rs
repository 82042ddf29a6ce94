//! Levels from a map: a grid of level patterns, one for each node, in layers.
//!
//! A position on the grid gives the levels of its four nodes, mixed bilinearly; `morph` goes from one
//! layer to the next in the same way. What comes out multiplies the array `level`.

/// All patterns, layer by layer, row by row, column by column.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    levels: Vec<f32>,
    layers: usize,
    rows: usize,
    columns: usize,
    count: usize,
}

/// The two neighbours of a place among `n` evenly spaced points, and the share of the second.
fn between(place: f32, n: usize) -> (usize, usize, f32) {
    let at = place.clamp(0.0, 1.0) * (n - 1) as f32;
    let low = (at as usize).min(n - 1);
    (low, (low + 1).min(n - 1), at - low as f32)
}

impl Map {
    /// From flat levels [layer][row][column][oscillator]; without any, a map that is off.
    pub fn new(levels: &[f32], rows: usize, columns: usize, count: usize) -> Result<Self, String> {
        let layer = rows * columns * count;
        if !levels.len().is_multiple_of(layer) {
            return Err(format!(
                "map has {} values; {rows} rows by {columns} columns of {count} oscillators need {layer} for each layer",
                levels.len()
            ));
        }
        let levels: Vec<f32> = levels.iter().map(|v| v.clamp(-16.0, 16.0)).collect();
        Ok(Self { layers: levels.len() / layer, levels, rows, columns, count })
    }

    /// Whether there is a map.
    pub fn on(&self) -> bool {
        self.layers > 0
    }

    /// Writes `amp` times the levels at a position. Thread: audio. Never allocates, locks or logs.
    pub fn apply(&self, x: f32, y: f32, morph: f32, amp: &[f32], out: &mut [f32]) {
        let (left, right, fx) = between(x, self.columns);
        let (low, high, fy) = between(y, self.rows);
        let (first, second, fm) = between(morph, self.layers);
        out.fill(0.0);
        for (layer, wm) in [(first, 1.0 - fm), (second, fm)] {
            for (row, wy) in [(low, 1.0 - fy), (high, fy)] {
                for (column, wx) in [(left, 1.0 - fx), (right, fx)] {
                    let weight = wm * wy * wx;
                    if weight > 0.0 {
                        let node = ((layer * self.rows + row) * self.columns + column) * self.count;
                        let levels = &self.levels[node..][..self.count];
                        out.iter_mut().zip(levels).for_each(|(o, v)| *o += weight * v);
                    }
                }
            }
        }
        out.iter_mut().zip(amp).for_each(|(o, a)| *o *= a);
    }
}
