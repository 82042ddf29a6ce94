//! The contract of DESIGN §4, on every registered processor in every mode.

mod common;
use common::{Case, Rng, allocations, cases, run, signal};
use cspace_dsp::{Block, Prepare, Scale, StateIo, registry};

const RATE: f64 = 48_000.0;
const MAX_BLOCK: usize = 512;

fn spec(sample_rate: f64, channels: usize) -> Prepare {
    Prepare { sample_rate, max_block: MAX_BLOCK, channels }
}

/// Index of the first bit difference.
fn differs(a: &[f32], b: &[f32]) -> Option<usize> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).position(|(x, y)| x.to_bits() != y.to_bits())
}

fn for_each_case(f: impl FnMut(&Case)) {
    let all = cases();
    assert!(!all.is_empty());
    all.iter().for_each(f);
}

#[test]
fn names_and_ranges_are_sound() {
    let mut seen = std::collections::HashSet::new();
    for info in registry::all() {
        assert!(seen.insert(info.name), "two processors are called {}", info.name);
        assert!(!info.doc.is_empty(), "{} has no doc", info.name);
        let mut names = std::collections::HashSet::new();
        for p in info.params {
            let at = format!("{}.{}", info.name, p.name);
            assert!(names.insert(p.name), "{at} is declared twice");
            assert!(p.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{at}");
            assert!(!p.doc.is_empty(), "{at} has no doc");
            assert!(p.min < p.max && p.clamp(p.default) == p.default, "{at}: default out of range");
            assert!(p.scale != Scale::Log || p.min > 0.0, "{at}: log scale from {}", p.min);
            for (unit, suffix) in [("Hz", "_hz"), ("dB", "_db"), ("ms", "_ms"), ("s", "_s")] {
                assert_eq!(p.unit == unit, p.name.ends_with(suffix), "{at}: unit {:?}", p.unit);
            }
        }
        let made = registry::create(info.name).expect("can be made");
        assert!(std::ptr::eq(made.info(), info) || made.info().name == info.name);
        for (id, p) in info.params.iter().enumerate() {
            assert_eq!(made.param(id), p.default, "{}.{} starts elsewhere", info.name, p.name);
        }
    }
    assert!(registry::create("no such processor").is_none());
}

#[test]
fn block_sizes_do_not_matter_and_reset_starts_over() {
    for_each_case(|case| {
        for channels in [1, 2] {
            let frames = 3000;
            let x = signal(channels, frames, RATE);
            let mut p = case.make(&spec(RATE, channels));
            let whole = run(&mut *p, &x, channels, |_| MAX_BLOCK);
            let mut rng = Rng(3);
            let mut random = |_| 1 + rng.below(MAX_BLOCK);
            let check = |what: &str, got: Vec<f32>| {
                if let Some(i) = differs(&whole, &got) {
                    panic!(
                        "{} ×{channels}, {what}: sample {i} is {} instead of {}",
                        case.name(),
                        got[i],
                        whole[i]
                    );
                }
            };
            for size in [1, 64, 65, 128] {
                let mut q = case.make(&spec(RATE, channels));
                check(&format!("blocks of {size}"), run(&mut *q, &x, channels, |_| size));
            }
            let mut q = case.make(&spec(RATE, channels));
            check("random blocks", run(&mut *q, &x, channels, &mut random));
            p.reset();
            check("after reset", run(&mut *p, &x, channels, |_| 100));
            p.prepare(&spec(RATE, channels)).unwrap();
            check("after a second prepare", run(&mut *p, &x, channels, |_| 100));
        }
    });
}

#[test]
fn parameter_moves_do_not_depend_on_blocks() {
    for_each_case(|case| {
        let (channels, frames, every) = (2, 2000, 130);
        let x = signal(channels, frames, RATE);
        // Moves fall on multiples of `every`, where the engine would cut the block.
        let go = |size: usize| {
            let mut p = case.make(&spec(RATE, channels));
            let mut rng = Rng(11);
            let mut out = vec![0.0; x.len()];
            for start in (0..frames).step_by(every) {
                let n = every.min(frames - start);
                let id = rng.below(case.info.params.len().max(1));
                let q = case.info.params[id];
                if !q.setup {
                    p.set_param(id, q.min + (q.max - q.min) * (0.5 + 0.5 * rng.uniform()));
                }
                let part: Vec<f32> =
                    (0..channels).flat_map(|c| x[c * frames + start..][..n].to_vec()).collect();
                let y = run(&mut *p, &part, channels, |_| size);
                for c in 0..channels {
                    out[c * frames + start..][..n].copy_from_slice(&y[c * n..][..n]);
                }
            }
            out
        };
        let (a, b) = (go(every), go(7));
        assert_eq!(differs(&a, &b), None, "{}", case.name());
        assert!(a.iter().all(|v| v.is_finite()), "{}: a sweep gave NaN or Inf", case.name());
    });
}

#[test]
fn process_never_allocates() {
    for_each_case(|case| {
        let x = signal(2, MAX_BLOCK, RATE);
        let mut p = case.make(&spec(RATE, 2));
        let mut tap = vec![0.0; (0..case.info.taps.len()).map(|t| p.tap_len(t)).max().unwrap_or(0)];
        let mut block = x.clone();
        let mut rng = Rng(5);
        let arrays: Vec<Vec<f32>> = (0..case.info.arrays.len()).map(|a| vec![0.5; p.array_len(a)]).collect();
        let n = allocations(|| {
            for round in 0..24 {
                block.copy_from_slice(&x);
                let frames = 1 + rng.below(MAX_BLOCK);
                p.process(&mut Block::new(&mut block, MAX_BLOCK, frames));
                for (id, q) in case.info.params.iter().enumerate() {
                    if (id + round) % 3 == 0 {
                        p.set_param(id, q.min + (q.max - q.min) * (0.5 + 0.5 * rng.uniform()));
                    }
                }
                for (id, spec) in case.info.arrays.iter().enumerate() {
                    if spec.live && round % 5 == 1 {
                        p.set_array(id, &arrays[id]);
                    }
                }
                for t in 0..case.info.taps.len() {
                    let len = p.tap_len(t);
                    p.read_tap(t, &mut tap[..len]);
                }
                if round == 12 {
                    p.reset();
                }
            }
        });
        assert_eq!(n, 0, "{}: {n} allocations or frees", case.name());
    });
}

#[test]
fn any_rate_and_channel_count_works() {
    for_each_case(|case| {
        for rate in [8_000.0, 22_050.0, 44_100.0, 96_000.0, 192_000.0] {
            for channels in [1, 2, 6] {
                let x = signal(channels, 700, rate);
                let mut p = case.make(&spec(rate, channels));
                let y = run(&mut *p, &x, channels, |_| 200);
                assert!(y.iter().all(|v| v.is_finite()), "{} at {rate} Hz ×{channels}", case.name());
            }
        }
    });
}

#[test]
fn silence_denormals_and_full_scale_stay_finite() {
    for_each_case(|case| {
        for level in [0.0, 1e-40, 1e-38, 1.0, 1e6] {
            let x: Vec<f32> = (0..4000).map(|i| if (i / 50) % 2 == 0 { level } else { -level }).collect();
            let mut p = case.make(&spec(RATE, 2));
            let y = run(&mut *p, &x, 2, |_| 256);
            assert!(y.iter().all(|v| v.is_finite()), "{} at level {level}", case.name());
        }
    });
}

#[test]
fn after_nan_a_reset_heals() {
    for_each_case(|case| {
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let x = signal(2, 1500, RATE);
            let mut p = case.make(&spec(RATE, 2));
            let clean = run(&mut *p, &x, 2, |_| 128);
            let mut bad = x.clone();
            bad[100] = poison;
            bad[1700] = poison;
            p.reset();
            run(&mut *p, &bad, 2, |_| 128);
            p.reset();
            let healed = run(&mut *p, &x, 2, |_| 128);
            assert_eq!(differs(&clean, &healed), None, "{}: {poison} outlives reset", case.name());
        }
    });
}

#[test]
fn state_saves_and_restores() {
    for_each_case(|case| {
        let x = signal(2, 2000, RATE);
        let first: Vec<f32> = [&x[..1000], &x[2000..3000]].concat();
        let second: Vec<f32> = [&x[1000..2000], &x[3000..]].concat();
        let mut p = case.make(&spec(RATE, 2));
        for (id, q) in case.info.params.iter().enumerate() {
            if !q.setup {
                p.set_param(id, q.max); // a ramp is under way when the state is taken
            }
        }
        run(&mut *p, &first, 2, |_| 333);
        let mut bytes = Vec::new();
        p.state(&mut StateIo::Save(&mut bytes)).unwrap();
        let expected = run(&mut *p, &second, 2, |_| 128);

        let mut q = case.make(&spec(RATE, 2));
        let mut io = StateIo::Load(&bytes);
        q.state(&mut io).unwrap_or_else(|e| panic!("{}: {e}", case.name()));
        io.finish().unwrap_or_else(|e| panic!("{}: {e}", case.name()));
        let got = run(&mut *q, &second, 2, |_| 128);
        assert_eq!(differs(&expected, &got), None, "{}", case.name());

        if !bytes.is_empty() {
            let mut q = case.make(&spec(RATE, 2));
            assert!(
                q.state(&mut StateIo::Load(&bytes[..bytes.len() - 1])).is_err(),
                "{}: short state",
                case.name()
            );
        }
    });
}

#[test]
fn latency_equals_what_an_impulse_measures() {
    for info in registry::all() {
        // At the defaults each processor passes its input on, so the peak shows the delay.
        let case = Case { info, set: vec![] };
        let mut p = case.make(&spec(RATE, 1));
        let mut x = vec![0.0; 8192];
        x[0] = 0.5;
        let y = run(&mut *p, &x, 1, |_| 512);
        let mut silent = case.make(&spec(RATE, 1));
        let base = run(&mut *silent, &vec![0.0; 8192], 1, |_| 512);
        let d: Vec<f32> = y.iter().zip(&base).map(|(a, b)| (a - b).abs()).collect();
        let peak = (0..d.len()).max_by(|&a, &b| d[a].total_cmp(&d[b])).unwrap();
        assert_eq!(peak, p.latency_samples(), "{}", info.name);
    }
}

#[test]
fn wrong_ids_and_wild_values_are_harmless() {
    for_each_case(|case| {
        let mut p = case.make(&spec(RATE, 2));
        for v in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30, 1e30] {
            p.set_param(9999, v);
            for (id, q) in case.info.params.iter().enumerate() {
                p.set_param(id, v);
                assert!((q.min..=q.max).contains(&p.param(id)), "{}.{} took {v}", case.info.name, q.name);
            }
        }
        assert!(!p.set_array(9999, &[1.0]));
        let y = run(&mut *p, &signal(2, 600, RATE), 2, |_| 64);
        assert!(y.iter().all(|v| v.is_finite()), "{}", case.name());
    });
}
