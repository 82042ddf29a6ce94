//! Power-law kernels: g[n] = n^(−γ) / Γ(1 − γ), a sampled fractional integral of order 1 − γ
//! (Riemann and Liouville).

/// The kernel's first `taps` values, n = 1 …; γ above 0 and below 1. Thread: control. Allocates.
pub fn kernel(gamma: f64, taps: usize) -> Vec<f64> {
    let scale = 1.0 / gamma_function(1.0 - gamma);
    (1..=taps).map(|n| scale * (n as f64).powf(-gamma)).collect()
}

/// Γ(x) for x above 0, to 1e-13 of its value (Lanczos 1964, g = 7, Godfrey's coefficients).
pub fn gamma_function(x: f64) -> f64 {
    const C: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection: the series holds from 1/2 on.
        return std::f64::consts::PI / ((std::f64::consts::PI * x).sin() * gamma_function(1.0 - x));
    }
    let x = x - 1.0;
    let t = x + 7.5;
    let sum = C[0] + C[1..].iter().zip(1..).map(|(c, i)| c / (x + f64::from(i))).sum::<f64>();
    std::f64::consts::TAU.sqrt() * t.powf(x + 0.5) * (-t).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_has_its_known_values() {
        let root = std::f64::consts::PI.sqrt();
        for (x, want) in
            [(0.5, root), (1.0, 1.0), (1.5, 0.5 * root), (5.0, 24.0), (0.1, 9.513_507_698_668_732)]
        {
            let got = gamma_function(x);
            assert!((got / want - 1.0).abs() < 1e-12, "Γ({x}) = {got}, not {want}");
        }
    }

    #[test]
    fn half_order_is_the_known_kernel() {
        // γ = 1/2: 1 / sqrt(π n).
        for (n, g) in kernel(0.5, 50).iter().enumerate() {
            let want = 1.0 / (std::f64::consts::PI * (n + 1) as f64).sqrt();
            assert!((g / want - 1.0).abs() < 1e-12);
        }
    }
}
