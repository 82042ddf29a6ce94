//! The spectral radius of the recurrent matrix, from its true eigenvalues.
//!
//! The matrix is first cut into the strongly connected components of its graph: its eigenvalues
//! are those of the components, so a matrix without a cycle (nilpotent) has radius exactly 0.
//! Small components are solved densely (real Schur form), large ones by Arnoldi with thick restart.
//! Power iteration is no choice here: the leading eigenvalues of a random matrix come in complex
//! pairs of nearly equal modulus.

use super::matrix::Csr;
use nalgebra::{Complex, DMatrix, DVector, Schur};

/// Components up to this size are solved densely.
const DENSE: usize = 256;
/// Dimension of the Krylov space, and how much of it a restart keeps.
const SPACE: usize = 120;
const KEEP: usize = 50;
/// Matrix products after which the best estimate is returned, with its residual.
const MAX_PRODUCTS: usize = 4000;
/// Relative residual at which the leading Ritz pair counts as converged, and that of its runner-up.
const TOLERANCE: f64 = 1e-7;
const RUNNER_UP: f64 = 1e-3;

/// A spectral radius and how well it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Radius {
    /// Largest eigenvalue modulus.
    pub value: f64,
    /// |W x − λ x| / |λ| of the leading unit Ritz vector; 0 where the dense solver was used.
    pub residual: f64,
}

/// Leading vectors of an earlier solve of a matrix with the same pattern, by first node of the
/// component: a solve that starts from them needs one cycle.
#[derive(Default)]
pub struct Warm(Vec<(u32, Vec<f64>)>);

/// The spectral radius of `w`. Thread: control. Allocates.
pub fn spectral_radius(w: &Csr, warm: &mut Warm) -> Radius {
    let mut best = Radius::default();
    for nodes in components(w) {
        let found = match nodes.len() {
            1 => {
                let i = nodes[0] as usize;
                let own = w.row(i).find(|&(j, _)| j == i).map_or(0.0, |(_, v)| f64::from(v));
                Radius { value: own.abs(), residual: 0.0 }
            }
            n => {
                let part = Part::new(w, &nodes);
                let dense = || eigenvalues(&part.dense()).map(|e| largest(&e));
                match if n <= DENSE { dense() } else { None } {
                    Some(value) => Radius { value, residual: 0.0 },
                    None => {
                        let at = warm.0.iter().position(|(first, _)| *first == nodes[0]);
                        let start = at.map(|at| warm.0.swap_remove(at).1);
                        let (found, vector) = arnoldi(&part, start);
                        warm.0.push((nodes[0], vector));
                        found
                    }
                }
            }
        };
        if found.value > best.value {
            best = found;
        }
    }
    best
}

fn largest(values: &[Complex<f64>]) -> f64 {
    values.iter().map(|v| v.norm()).fold(0.0, f64::max)
}

/// Strongly connected components (Tarjan, without recursion), each sorted.
fn components(w: &Csr) -> Vec<Vec<u32>> {
    const NEW: u32 = u32::MAX;
    let n = w.n;
    let (mut index, mut low) = (vec![NEW; n], vec![0u32; n]);
    let mut on_stack = vec![false; n];
    let (mut stack, mut calls, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = 0;
    for root in 0..n {
        if index[root] != NEW {
            continue;
        }
        calls.push((root, w.ptr[root]));
        while let Some((v, edge)) = calls.pop() {
            if index[v] == NEW {
                (index[v], low[v]) = (next, next);
                next += 1;
                stack.push(v as u32);
                on_stack[v] = true;
            }
            if edge < w.ptr[v + 1] {
                let to = usize::from(w.col[edge as usize]);
                calls.push((v, edge + 1));
                if index[to] == NEW {
                    calls.push((to, w.ptr[to]));
                } else if on_stack[to] {
                    low[v] = low[v].min(index[to]);
                }
                continue;
            }
            if low[v] == index[v] {
                let at = stack.iter().rposition(|&u| u == v as u32).unwrap_or(0);
                let mut part = stack.split_off(at);
                part.iter().for_each(|&u| on_stack[u as usize] = false);
                part.sort_unstable();
                out.push(part);
            }
            if let Some(&(parent, _)) = calls.last() {
                low[parent] = low[parent].min(low[v]);
            }
        }
    }
    out
}

/// The rows and columns of one component.
struct Part {
    ptr: Vec<u32>,
    col: Vec<u16>,
    val: Vec<f32>,
    /// Largest sum of sizes in a row; products are taken in this unit.
    unit: f64,
}

impl Part {
    fn new(w: &Csr, nodes: &[u32]) -> Self {
        let mut place = vec![u32::MAX; w.n];
        nodes.iter().enumerate().for_each(|(k, &v)| place[v as usize] = k as u32);
        let (mut ptr, mut col, mut val) = (vec![0], Vec::new(), Vec::new());
        let mut unit = 0f64;
        for &v in nodes {
            let mut sum = 0.0;
            for (j, x) in w.row(v as usize).filter(|&(j, _)| place[j] != u32::MAX) {
                col.push(place[j] as u16);
                val.push(x);
                sum += f64::from(x).abs();
            }
            unit = unit.max(sum);
            ptr.push(col.len() as u32);
        }
        Self { ptr, col, val, unit }
    }

    fn n(&self) -> usize {
        self.ptr.len() - 1
    }

    fn dense(&self) -> DMatrix<f64> {
        let mut m = DMatrix::zeros(self.n(), self.n());
        for i in 0..self.n() {
            for e in self.ptr[i] as usize..self.ptr[i + 1] as usize {
                m[(i, usize::from(self.col[e]))] = f64::from(self.val[e]);
            }
        }
        m
    }

    /// `y` = W `x` / `unit`.
    fn product(&self, x: &[f64], y: &mut [f64]) {
        for (y, row) in y.iter_mut().zip(self.ptr.windows(2)) {
            let range = row[0] as usize..row[1] as usize;
            let terms = self.col[range.clone()].iter().zip(&self.val[range]);
            *y = terms.map(|(&j, &v)| f64::from(v) * x[usize::from(j)]).sum::<f64>() / self.unit;
        }
    }
}

/// All eigenvalues. Francis' double shift stands still on a few matrices (a pure cycle is one);
/// there a shifted matrix is solved instead.
fn eigenvalues(m: &DMatrix<f64>) -> Option<Vec<Complex<f64>>> {
    let size = m.amax();
    [0.0, 0.37, -0.71, 1.3].iter().find_map(|shift| {
        let shift = shift * size;
        let mut shifted = m.clone();
        (0..m.nrows()).for_each(|i| shifted[(i, i)] += shift);
        let schur = Schur::try_new(shifted, f64::EPSILON, 60 * m.nrows() + 100)?;
        let values = schur.complex_eigenvalues();
        let values: Vec<_> = values.iter().map(|v| v - Complex::from(shift)).collect();
        values.iter().all(|v| v.re.is_finite() && v.im.is_finite()).then_some(values)
    })
}

/// Arnoldi with thick restart (Krylov-Schur without the reordering: the kept space is spanned by
/// the wanted Ritz vectors, orthonormalised). Returns the radius and a vector to start from again.
fn arnoldi(part: &Part, start: Option<Vec<f64>>) -> (Radius, Vec<f64>) {
    let n = part.n();
    let space = SPACE.min(n - 1);
    let keep = KEEP.min(space / 2);
    let mut v: Vec<Vec<f64>> = vec![vec![0.0; n]; space + 1];
    let mut h = DMatrix::<f64>::zeros(space + 1, space);
    let warm = start.is_some();
    v[0] = start.unwrap_or_else(|| {
        let mut draws = super::matrix::Draws::new(n as u64, 2);
        (0..n).map(|_| f64::from(draws.signed())).collect()
    });
    normalise(&mut v[0]);
    let (mut filled, mut products) = (0, 0);
    let mut best = (Radius { value: 0.0, residual: f64::INFINITY }, v[0].clone());
    loop {
        let mut last = space;
        for j in filled..space {
            let (done, rest) = v.split_at_mut(j + 1);
            part.product(&done[j], &mut rest[0]);
            products += 1;
            // Once more where little is left, as rounding then makes up much of it.
            let (mut before, mut after) = (f64::INFINITY, dot(&rest[0], &rest[0]));
            while after < 0.5 * before && after > 0.0 {
                before = after;
                let c: Vec<f64> = done.iter().map(|q| dot(q, &rest[0])).collect();
                for (i, (q, c)) in done.iter().zip(&c).enumerate() {
                    h[(i, j)] += c;
                    rest[0].iter_mut().zip(q).for_each(|(w, q)| *w -= c * q);
                }
                after = dot(&rest[0], &rest[0]);
            }
            let beta = normalise(&mut rest[0]);
            h[(j + 1, j)] = beta;
            if beta < 1e-14 {
                last = j + 1; // the space is invariant: its eigenvalues are exact
                break;
            }
        }
        let small = h.view((0, 0), (last, last)).clone_owned();
        let beta = h[(last, last - 1)];
        let Some(mut theta) = eigenvalues(&small) else { return best };
        theta.sort_by(|a, b| b.norm().total_cmp(&a.norm()).then(b.im.total_cmp(&a.im)));
        // Orthonormal basis of the wanted Ritz vectors: real and imaginary part of one of each pair.
        let mut basis: Vec<DVector<f64>> = Vec::new();
        let mut residuals = Vec::new();
        for t in theta.iter().filter(|t| t.im >= 0.0) {
            if basis.len() + 1 >= keep.min(last) && !residuals.is_empty() {
                break;
            }
            let y = eigenvector(&small, *t);
            residuals.push(beta * y[last - 1].norm() / t.norm());
            let parts = [y.map(|c| c.re), y.map(|c| c.im)];
            for mut p in parts.into_iter().take(if t.im > 0.0 { 2 } else { 1 }) {
                for _ in 0..2 {
                    basis.iter().for_each(|b| p.axpy(-b.dot(&p), b, 1.0));
                }
                let norm = p.norm();
                if norm > 1e-10 {
                    basis.push(p / norm);
                }
            }
        }
        let combine = |y: &DVector<f64>| {
            let mut out = vec![0.0; n];
            for (q, c) in v.iter().zip(y.iter()) {
                out.iter_mut().zip(q).for_each(|(o, q)| *o += c * q);
            }
            out
        };
        let value = theta[0].norm() * part.unit;
        best = (Radius { value, residual: residuals[0] }, combine(&basis[0]));
        // The runner-up must be settled too, or it may overtake the leader later; where the leader is
        // known from an earlier solve, that has been seen to.
        let second = residuals.get(1).copied().unwrap_or(0.0);
        let settled = residuals[0] < TOLERANCE && (warm || second < RUNNER_UP);
        if last < space || settled || products >= MAX_PRODUCTS {
            return best;
        }
        let kept: Vec<Vec<f64>> = basis.iter().map(combine).collect();
        let q = DMatrix::from_columns(&basis);
        let reduced = q.transpose() * &small * &q;
        filled = kept.len();
        h.fill(0.0);
        h.view_mut((0, 0), (filled, filled)).copy_from(&reduced);
        for i in 0..filled {
            h[(filled, i)] = beta * q[(last - 1, i)];
        }
        v.swap(filled, last);
        v.splice(..filled, kept);
    }
}

/// Unit eigenvector of `m` for the eigenvalue `t`, by inverse iteration.
fn eigenvector(m: &DMatrix<f64>, t: Complex<f64>) -> DVector<Complex<f64>> {
    let n = m.nrows();
    let mut a = m.map(Complex::from);
    // A hair off the eigenvalue, so that the system can be solved.
    let t = t * (1.0 + 1e-13) + Complex::from(1e-300);
    (0..n).for_each(|i| a[(i, i)] -= t);
    let lu = a.lu();
    let mut y = DVector::from_element(n, Complex::from(1.0 / (n as f64).sqrt()));
    for _ in 0..2 {
        match lu.solve(&y) {
            Some(x) if x.iter().all(|c| c.re.is_finite() && c.im.is_finite()) => {
                y = &x / Complex::from(x.norm())
            }
            _ => break,
        }
    }
    y
}

/// Eight sums side by side, so that no addition waits for the one before.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut s = [0.0; 8];
    let (a8, a1) = a.as_chunks::<8>();
    let (b8, b1) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        (0..8).for_each(|i| s[i] += a[i] * b[i]);
    }
    s.iter().sum::<f64>() + a1.iter().zip(b1).map(|(a, b)| a * b).sum::<f64>()
}

fn normalise(x: &mut [f64]) -> f64 {
    let norm = dot(x, x).sqrt();
    if norm > 0.0 {
        x.iter_mut().for_each(|v| *v /= norm);
    }
    norm
}
