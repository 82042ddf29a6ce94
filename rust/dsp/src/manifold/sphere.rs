//! The unit sphere: back onto it, along it, and rotations of it.

use super::tensors::BuildError;

/// Below this length a vector has no direction and goes to a pole, as in training.
const POINT: f64 = 1e-8;

/// x / |x|; the zero vector goes to the first pole.
pub fn retract(x: &mut [f32]) {
    let norm = x.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    if norm > POINT {
        let scale = 1.0 / norm;
        x.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
    } else if norm <= POINT {
        x.fill(0.0);
        x[0] = 1.0;
    }
}

/// Takes the part of `force` along `s` away.
pub fn tangent(force: &mut [f32], s: &[f32]) {
    let along: f32 = force.iter().zip(s).map(|(f, s)| f * s).sum();
    force.iter_mut().zip(s).for_each(|(f, s)| *f -= along * s);
}

/// Cayley's rotation (1 + A)⁻¹ (1 − A) of A = W − Wᵀ, d × d row by row. Thread: control. Allocates.
pub fn cayley(name: &str, d: usize, w: &[f32]) -> Result<Vec<f64>, BuildError> {
    use nalgebra::DMatrix;
    let w = DMatrix::from_row_iterator(d, d, w.iter().map(|v| f64::from(*v)));
    let a = &w - w.transpose();
    let eye = DMatrix::<f64>::identity(d, d);
    // 1 + A has no eigenvalue 0 for an antisymmetric A of finite entries.
    let turn = (&eye + &a).lu().solve(&(&eye - &a));
    let turn = turn.ok_or_else(|| BuildError(format!("tensor {name} gives no rotation")))?;
    Ok((0..d * d).map(|i| turn[(i / d, i % d)]).collect())
}
