//! Memory capacity of the two topologies (H. Jaeger, "Short term memory in echo state networks", GMD
//! report 152, 2001): the sum over delays of the squared correlation between white noise of k samples
//! ago and its best linear reconstruction from the state.

use cspace_dsp::esn::{Esn, INFO};
use cspace_dsp::{Prepare, Processor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const NODES: usize = 100;
const WASH_OUT: usize = 500;
const SAMPLES: usize = 3000;
const DELAYS: usize = 150;

fn memory_capacity(topology: f32, seed: f32) -> f64 {
    let mut p = Esn::new();
    // No leak, so that W alone remembers, and an input small enough to stay near the linear part.
    let set = [("nodes", NODES as f32), ("topology", topology), ("seed", seed), ("leak_min", 1.0)];
    set.iter().for_each(|(name, v)| p.set_param(INFO.param_id(name).unwrap(), *v));
    p.prepare(&Prepare { sample_rate: 48_000.0, max_block: 64, channels: 1 }).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(77);
    let input: Vec<f32> = (0..WASH_OUT + SAMPLES)
        .map(|_| ((rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.1)
        .collect();
    let mut states = vec![0.0; input.len() * NODES];
    p.run_states(&input, &mut states);

    // Ridge regression of all delays at once: (S'S + λ I) w = S'u, by Cholesky, in float64.
    let s = nalgebra::DMatrix::from_fn(SAMPLES, NODES, |t, i| f64::from(states[(WASH_OUT + t) * NODES + i]));
    let u = nalgebra::DMatrix::from_fn(SAMPLES, DELAYS, |t, k| f64::from(input[WASH_OUT + t - k - 1]));
    let mut gram = s.transpose() * &s;
    let ridge = 1e-9 * gram.trace() / NODES as f64;
    (0..NODES).for_each(|i| gram[(i, i)] += ridge);
    let found = &s * gram.cholesky().unwrap().solve(&(s.transpose() * &u));
    (0..DELAYS)
        .map(|k| {
            let (a, b) = (found.column(k), u.column(k));
            let (ma, mb) = (a.mean(), b.mean());
            let sum =
                |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(&b).map(|(x, y)| f(x - ma, y - mb)).sum::<f64>();
            sum(&|x, y| x * y).powi(2) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).max(1e-300)
        })
        .sum()
}

#[test]
fn blocks_remember_as_much_as_random_weights() {
    const SEEDS: usize = 8;
    let [random, blocks] = [0.0, 1.0].map(|topology| {
        let all: Vec<f64> = (0..SEEDS).map(|seed| memory_capacity(topology, seed as f32)).collect();
        let mean = all.iter().sum::<f64>() / SEEDS as f64;
        let spread = (all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (SEEDS - 1) as f64).sqrt();
        println!("topology {topology}: memory capacity {mean:.1} ± {spread:.1} of {NODES} nodes");
        (mean, spread)
    });
    // Equal within the spread over seeds (one standard deviation), and within 10 %.
    let difference = (random.0 - blocks.0).abs();
    assert!(difference < random.1.max(blocks.1), "{random:?} against {blocks:?}");
    assert!(difference < 0.1 * random.0, "{random:?} against {blocks:?}");
}
