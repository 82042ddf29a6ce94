//! The manifold's steps: on the sphere, the same in blocks, without allocation, no shape left untried.
//!
//! Tolerances: 1e-5 off the sphere is the promise. States have size 1 and are float32 sums of some hundred products
//! a layer; fused products round otherwise, which a stream with gaps carries along (1e-4). A
//! history that began elsewhere lies otherwise in its ring and is summed in another order (2e-5).

mod common;
use common::{Rng, allocations};
use cspace_dsp::manifold::{
    Attention, BuildError, Dynamics, EncoderKind, Manifold, MemoryKind, Spec, StepError, Tensors,
};
use cspace_dsp::simd::Level;
use cspace_dsp::{StateError, StateIo};
use proptest::prelude::*;

const ALL: [Dynamics; 6] = [
    Dynamics::Identity,
    Dynamics::Residual,
    Dynamics::Memory,
    Dynamics::Kuramoto,
    Dynamics::Full,
    Dynamics::Rotor,
];

fn spec(dynamics: Dynamics) -> Spec {
    Spec {
        channels: 6,
        latent: 7,
        encoder: EncoderKind::Residual,
        width: 10,
        layers: 3,
        sphere: true,
        static_rotation: false,
        dynamics,
        memory: MemoryKind::Both,
        memory_taps: 9,
        gammas: 3,
        attention: Attention::Sakaguchi,
        divide_by_count: true,
        substeps: 1,
        decoder_width: 12,
        history_frames: 40,
        predicts: true,
    }
}

/// Every variant: dynamics, and the two kinds of attention where there is one.
fn variants() -> Vec<Spec> {
    let mut out: Vec<Spec> = ALL.iter().map(|d| spec(*d)).collect();
    for dynamics in [Dynamics::Kuramoto, Dynamics::Full] {
        out.push(Spec { attention: Attention::Kuramoto, substeps: 3, ..spec(dynamics) });
    }
    out.push(Spec {
        encoder: EncoderKind::Original,
        static_rotation: true,
        memory: MemoryKind::Fractional,
        ..spec(Dynamics::Full)
    });
    out
}

/// Names and shapes of the weights, as torch gives them.
fn shapes(s: &Spec) -> Vec<(String, Vec<usize>)> {
    let (c, w, d) = (s.channels, s.width, s.latent);
    let mut out = Vec::new();
    let mut layer = |name: &str, weight: Vec<usize>| {
        out.push((format!("{name}.bias"), vec![weight[0]]));
        out.push((format!("{name}.weight"), weight));
    };
    match s.encoder {
        EncoderKind::Residual => {
            layer("encoder.inlet", vec![w, c, 1]);
            (0..s.layers).for_each(|i| layer(&format!("encoder.convs.{i}"), vec![w, w, 3]));
        }
        EncoderKind::Original => {
            layer("encoder.convs.0", vec![w, c, 5]);
            layer("encoder.convs.1", vec![w, w, 5]);
        }
    }
    layer("encoder.outlet", vec![d, w, 1]);
    if s.decoder_width == 0 {
        layer("decoder", vec![c, d]);
    } else {
        layer("decoder.0", vec![s.decoder_width, d]);
        layer("decoder.2", vec![c, s.decoder_width]);
    }
    let mut array = |name: &str, shape: Vec<usize>| out.push((name.to_owned(), shape));
    if s.static_rotation {
        array("rotation.weight", vec![d, d]);
    }
    if s.dynamics == Dynamics::Residual {
        for kind in ["ih", "hh"] {
            array(&format!("dynamics.cell.weight_{kind}"), vec![3 * d, d]);
            array(&format!("dynamics.cell.bias_{kind}"), vec![3 * d]);
        }
        array("dynamics.cell_outlet.weight", vec![d, d]);
        array("dynamics.cell_outlet.bias", vec![d]);
    }
    if matches!(s.dynamics, Dynamics::Memory | Dynamics::Full) {
        if s.memory != MemoryKind::Fractional {
            array("dynamics.taps", vec![d, s.memory_taps]);
        }
        if s.memory != MemoryKind::Free {
            array("dynamics.mix", vec![d, s.gammas]);
            array("dynamics.gamma_logit", vec![s.gammas]);
        }
    }
    if matches!(s.dynamics, Dynamics::Kuramoto | Dynamics::Full) {
        array("dynamics.coupling.weight", vec![d, d]);
        array("dynamics.alpha", vec![]);
        if s.attention == Attention::Kuramoto {
            array("dynamics.lag", vec![d, d]);
        }
    }
    out
}

fn tensors(s: &Spec, size: f32) -> Tensors {
    let mut rng = Rng(11);
    let mut out = Tensors::default();
    for (name, shape) in shapes(s) {
        let data = (0..shape.iter().product()).map(|_| size * rng.uniform()).collect();
        out.insert(&name, &shape, data).unwrap();
    }
    out
}

fn build(s: &Spec) -> Manifold {
    Manifold::new(s, &tensors(s, 0.4)).unwrap_or_else(|e| panic!("{s:?}: {e}"))
}

fn frames(channels: usize, count: usize) -> Vec<Vec<f32>> {
    let mut rng = Rng(3);
    (0..count)
        .map(|t| {
            let tone = |c: usize| (0.2 * (1 + c % 3) as f32 * t as f32 + c as f32).sin();
            (0..channels).map(|c| tone(c) + 0.1 * rng.uniform()).collect()
        })
        .collect()
}

fn length_error(z: &[f32]) -> f64 {
    (z.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() - 1.0).abs()
}

#[test]
fn stays_on_the_sphere_for_a_hundred_thousand_steps() {
    for s in variants() {
        let mut m = build(&s);
        let mut z = vec![0.0; s.latent];
        for frame in frames(s.channels, 60) {
            m.push(&frame, &mut z).unwrap();
        }
        let mut worst = 0f64;
        for _ in 0..100_000 {
            m.roll(&mut z).unwrap();
            worst = worst.max(length_error(&z));
        }
        assert!(worst <= 1e-5, "{:?}, {:?}: {worst:e}", s.dynamics, s.attention);
    }
}

#[test]
fn nothing_is_allocated_after_construction() {
    for s in variants() {
        let mut m = build(&s);
        let heard = frames(s.channels, 90);
        let (mut z, mut y) = (vec![0.0; s.latent], vec![0.0; s.channels]);
        let count = allocations(|| {
            for frame in &heard[..45] {
                m.push(frame, &mut z).unwrap();
                m.ahead(&mut z).unwrap();
                m.decode(&z, &mut y).unwrap();
            }
            for _ in 0..50 {
                m.roll(&mut z).unwrap();
            }
            for (i, frame) in heard[45..].iter().enumerate() {
                m.step((i % 7 > 2).then_some(frame), &mut y).unwrap();
            }
            m.place(&z).unwrap();
            assert!(m.push(&[f32::NAN; 6], &mut z).is_err());
            m.reset();
        });
        assert_eq!(count, 0, "{:?}", s.dynamics);
    }
}

/// A stream of heard and lost frames; the result is everything that was put out.
fn stream(m: &mut Manifold, heard: &[Vec<f32>], from: usize, to: usize) -> Vec<f32> {
    let mut out = Vec::new();
    let mut y = vec![0.0; m.spec().channels];
    for (i, frame) in heard.iter().enumerate().take(to).skip(from) {
        m.step((i % 11 < 8).then_some(frame), &mut y).unwrap();
        out.extend_from_slice(&y);
    }
    out
}

#[test]
fn a_run_after_reset_and_one_from_a_saved_state_are_the_same_bits() {
    for s in variants() {
        let heard = frames(s.channels, 120);
        let mut m = build(&s);
        let whole = stream(&mut m, &heard, 0, 120);
        m.reset();
        assert_eq!(stream(&mut m, &heard, 0, 120), whole, "{:?} after reset", s.dynamics);
        m.reset();
        let mut joined = stream(&mut m, &heard, 0, 53);
        let mut saved = Vec::new();
        m.state(&mut StateIo::Save(&mut saved)).unwrap();
        let mut other = build(&s);
        let mut io = StateIo::Load(&saved);
        other.state(&mut io).unwrap();
        io.finish().unwrap();
        joined.extend(stream(&mut other, &heard, 53, 120));
        assert_eq!(joined, whole, "{:?} from a saved state", s.dynamics);
        assert_eq!(other.state(&mut StateIo::Load(&saved[..saved.len() / 2])), Err(StateError::Mismatch));
    }
}

#[test]
fn only_the_history_kept_counts() {
    for s in variants() {
        // The encoder's own reach comes before the dynamics' window.
        let (mut long, mut short) = (build(&s), build(&s));
        let heard = frames(s.latent, 200);
        heard.iter().for_each(|z| long.place(z).unwrap());
        heard[200 - s.history_frames..].iter().for_each(|z| short.place(z).unwrap());
        if s.dynamics == Dynamics::Residual {
            continue; // its own state remembers, fading
        }
        let (mut a, mut b) = (vec![0.0; s.latent], vec![0.0; s.latent]);
        for _ in 0..5 {
            long.roll(&mut a).unwrap();
            short.roll(&mut b).unwrap();
            let far = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 2e-5, "{:?}: {far}", s.dynamics);
        }
    }
}

#[test]
fn plain_and_fast_instructions_agree() {
    for s in variants() {
        let heard = frames(s.channels, 60);
        let (mut fast, mut plain) = (build(&s), build(&s));
        plain.set_level(Level::Plain);
        let (a, b) = (stream(&mut fast, &heard, 0, 60), stream(&mut plain, &heard, 0, 60));
        let far = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{:?}: {far}", s.dynamics);
    }
}

#[test]
fn wrong_input_is_refused_and_changes_nothing() {
    for s in variants() {
        let heard = frames(s.channels, 30);
        let (mut m, mut other) = (build(&s), build(&s));
        let (mut z, mut y) = (vec![0.0; s.latent], vec![0.0; s.channels]);
        assert_eq!(m.roll(&mut z), Err(StepError::NoPast));
        assert_eq!(m.ahead(&mut z), Err(StepError::NoPast));
        assert_eq!(m.step(None, &mut y), Ok(()));
        assert_eq!(y, vec![0.0; s.channels]);
        let mut bad = heard[0].clone();
        bad[2] = f32::INFINITY;
        for frame in &heard {
            m.push(frame, &mut z).unwrap();
            assert_eq!(m.push(&bad, &mut z), Err(StepError::NotFinite(2)));
            assert_eq!(m.push(&frame[1..], &mut z), Err(StepError::Length { got: 5, want: 6 }));
            assert_eq!(m.place(&[f32::NAN; 7]), Err(StepError::NotFinite(0)));
            other.push(frame, &mut z).unwrap();
        }
        assert_eq!(stream(&mut m, &heard, 0, 30), stream(&mut other, &heard, 0, 30));
        // So loud that sums overflow: said, and forgotten.
        let loud = vec![f32::MAX; s.channels];
        let said = (0..9).map(|_| m.push(&loud, &mut z)).find(|r| r.is_err());
        assert_eq!(said, Some(Err(StepError::Overflow)), "{:?}", s.dynamics);
        assert_eq!(m.roll(&mut z), Err(StepError::NoPast));
        m.push(&heard[0], &mut z).unwrap();
        assert!(length_error(&z) < 1e-6);
    }
}

#[test]
fn wrong_weights_are_named() {
    let s = spec(Dynamics::Full);
    let error = |t: &Tensors, s: &Spec| Manifold::new(s, t).map(|_| ()).unwrap_err().0;
    for (name, shape) in shapes(&s) {
        let mut t = Tensors::default();
        for (other, shape) in shapes(&s) {
            let shape = if other == name { vec![2, 1] } else { shape };
            t.insert(&other, &shape, vec![0.1; shape.iter().product()]).unwrap();
        }
        let said = error(&t, &s);
        assert!(said.contains(&format!("tensor {name} has the shape [2, 1]; {shape:?}")), "{said}");
    }
    assert_eq!(error(&Tensors::default(), &s), "tensor encoder.inlet.weight is missing");
    let mut t = tensors(&s, 0.1);
    t.insert("dynamics.lag", &[7, 7], vec![0.0; 49]).unwrap();
    assert_eq!(error(&t, &s), "tensor dynamics.lag has no place in a model of this spec");
    let mut t = tensors(&s, 0.1);
    t.insert("spread.weight", &[1], vec![0.0]).unwrap();
    assert!(Manifold::new(&s, &t).is_ok(), "the noise of a training is left aside");
    let nan = t.insert("dynamics.alpha", &[], vec![f32::NAN]);
    assert_eq!(nan, Err(BuildError("tensor dynamics.alpha holds NaN or Inf".to_owned())));
    let wide = Spec { latent: 513, ..s.clone() };
    assert_eq!(error(&t, &wide), "latent is 513; it is 2 to 512");
    let flat = Spec { sphere: false, ..spec(Dynamics::Rotor) };
    assert_eq!(error(&t, &flat), "dynamics rotor turns the sphere, and space is euclid");
}

#[test]
fn a_rotor_without_prediction_rolls_the_same() {
    let s = spec(Dynamics::Rotor);
    let (mut m, mut light) = (build(&s), build(&Spec { predicts: false, ..s.clone() }));
    let (mut a, mut b) = (vec![0.0; s.latent], vec![0.0; s.latent]);
    for frame in frames(s.channels, 50) {
        m.push(&frame, &mut a).unwrap();
        light.push(&frame, &mut b).unwrap();
    }
    assert_eq!(light.ahead(&mut b), Err(StepError::NotPredicting));
    for _ in 0..20 {
        m.roll(&mut a).unwrap();
        light.roll(&mut b).unwrap();
        assert_eq!(a, b);
    }
}

fn any_spec() -> impl Strategy<Value = Spec> {
    let sizes = (1..12usize, 2..20usize, 1..20usize, 0..4usize, 1..40usize, 1..4usize);
    let more = (0..10usize, 1..50usize, 1..4usize, 0..ALL.len(), any::<[bool; 6]>());
    (sizes, more).prop_map(|((channels, latent, width, layers, memory_taps, gammas), more)| {
        let (decoder_width, history_frames, substeps, at, on) = more;
        Spec {
            channels,
            latent,
            width,
            layers,
            memory_taps,
            gammas,
            decoder_width,
            history_frames,
            substeps,
            dynamics: ALL[at],
            sphere: on[0] || ALL[at] == Dynamics::Rotor,
            static_rotation: on[1],
            encoder: if on[2] { EncoderKind::Residual } else { EncoderKind::Original },
            attention: if on[3] { Attention::Sakaguchi } else { Attention::Kuramoto },
            memory: if on[4] { MemoryKind::Fractional } else { MemoryKind::Both },
            divide_by_count: on[5],
            predicts: on[4],
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shape_runs_and_gives_the_same_after_reset(s in any_spec()) {
        let mut m = Manifold::new(&s, &tensors(&s, 0.2)).unwrap();
        let heard = frames(s.channels, 70);
        let whole = stream(&mut m, &heard, 0, 70);
        prop_assert!(whole.iter().all(|v| v.is_finite()));
        m.reset();
        prop_assert_eq!(&stream(&mut m, &heard, 0, 70), &whole);
        let mut z = vec![0.0; s.latent];
        m.roll(&mut z).unwrap();
        if s.sphere {
            prop_assert!(length_error(&z) < 1e-5);
        }
    }
}
