//! Hosted models: live equals offline, exact latency, parameters, state.

mod common;
use common::model::{HOP, LEVEL, filtered, hosted, play, pole, ready, scale};
use common::{engine, run, sine};
use cspace_dsp::{Block, Prepare, Processor, StateIo};
use cspace_engine::hosted::{Hosted, info, latency};

#[test]
fn offline_is_the_model_for_every_block() {
    let x = sine(5000);
    let expected = filtered(&x[..5000]);
    for hop in [1, 48, 64, 100, 512] {
        for block in [1, 7, 64, 1024] {
            let (mut driver, mut control) = engine(2, 1024);
            control.insert(0, hosted(&pole(hop, 2, &ready()), false, 0.0)).unwrap();
            assert_eq!(control.latency_samples(), hop);
            let y = run(&mut driver, &x, block);
            assert!(y[..hop].iter().all(|&v| v == 0.0));
            assert_eq!(y[hop..5000], expected[..5000 - hop], "hop {hop}, block {block}");
            assert_eq!(y[5000..], y[..5000]);
        }
    }
}

#[test]
fn live_is_offline_later_for_every_block_and_hop() {
    let x = sine(2600);
    let expected = filtered(&x[..2600]);
    for hop in [48, 64, 100, 512] {
        for block in [32, 64, 100, 128, 480] {
            for spare_ms in [0.0, 2.0] {
                let (mut driver, mut control) = engine(2, block);
                control.insert(0, hosted(&pole(hop, 2, &ready()), true, spare_ms)).unwrap();
                let late_by = latency(hop, block, (spare_ms * 48.0) as usize);
                assert_eq!(control.latency_samples(), late_by);
                let y = play(&mut driver, &mut control, &x, block, hop);
                assert_eq!(y[late_by..2600], expected[..2600 - late_by], "hop {hop}, block {block}");
                assert!(y[..late_by].iter().all(|&v| v == 0.0));
                let stats = control.stats();
                assert_eq!((stats.slots[0].late_blocks, stats.slots[0].late_hops), (0, 0));
                assert_eq!(stats.slots[0].hop_time.count, stats.slots[0].hops);
            }
        }
    }
}

/// The table of docs/neural.md: samples of latency, no spare time.
#[test]
fn the_latency_table() {
    let table = [
        // hop:  48   64  128  256   480   512  1024
        (32, [96, 96, 224, 480, 928, 992, 2016]),
        (64, [96, 64, 192, 448, 960, 960, 1984]),
        (128, [160, 128, 128, 384, 960, 896, 1920]),
        (256, [288, 256, 256, 256, 960, 768, 1792]),
        (512, [544, 512, 512, 512, 960, 512, 1536]),
        (1024, [1056, 1024, 1024, 1024, 1472, 1024, 1024]),
    ];
    for (block, row) in table {
        for (hop, expected) in [48, 64, 128, 256, 480, 512, 1024].into_iter().zip(row) {
            assert_eq!(latency(hop, block, 0), expected, "block {block}, hop {hop}");
        }
    }
}

#[test]
fn latency_is_what_an_impulse_measures() {
    for (live, block, hop, own) in
        [(false, 64, 64, 0), (false, 1, 100, 31), (true, 64, 100, 31), (true, 100, 64, 0)]
    {
        let (mut driver, mut control) = engine(2, block);
        let spec = scale(1.0, hop, own);
        control.insert(0, hosted(&spec, live, 0.0)).unwrap();
        let mut x = vec![0.0; 2 * 3000];
        x[10] = 0.5;
        let y = play(&mut driver, &mut control, &x, block, hop);
        // `own` is what the manifest states; this model has no delay of its own.
        assert_eq!(y.iter().position(|&v| v == 0.5), Some(10 + control.latency_samples() - own));
        // The input is delayed by all of it.
        control.set(1, "wet", 0.0, 0).unwrap();
        let frames = 3000;
        let mut z = vec![0.0; 2 * frames];
        z[2000] = 0.25;
        let dry = run(&mut driver, &z, block);
        assert_eq!(dry.iter().position(|&v| v == 0.25), Some(2000 + control.latency_samples()));
    }
}

#[test]
fn parameters_of_the_model_reach_it() {
    for live in [false, true] {
        let (mut driver, mut control) = engine(2, 64);
        let id = control.insert(0, hosted(&pole(HOP, 2, &ready()), live, 0.0)).unwrap();
        control.set(id, "level", 2.0, 640).unwrap();
        let y = play(&mut driver, &mut control, &vec![0.25; 2 * 6400], 64, HOP);
        assert!((y[600] - 0.5).abs() < 1e-6);
        assert!((y[6399] - 1.0).abs() < 1e-6);
        let step = y[600..6400].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(step < 0.02, "20 ms of ramp in 15 hops, not {step} at once");
        assert!(control.set(id, "levl", 2.0, 0).is_err());
    }
}

#[test]
fn reset_starts_over() {
    let x = sine(3000);
    let (mut driver, mut control) = engine(2, 64);
    control.insert(0, hosted(&pole(HOP, 2, &ready()), true, 0.0)).unwrap();
    let first = play(&mut driver, &mut control, &x, 64, HOP);
    control.panic().unwrap();
    run(&mut driver, &vec![0.0; 2 * 64 * 40], 64); // fades out, resets, fades in
    // The grid of hops began anew at the reset; align with it by a direct processor.
    let mut h = hosted(&pole(HOP, 2, &ready()), false, 0.0);
    h.prepare(&Prepare { sample_rate: common::RATE, max_block: 64, channels: 2 }).unwrap();
    let go = |h: &mut Hosted| {
        let mut y = x.clone();
        let mut all = Block::new(&mut y, 3000, 3000);
        (0..3000).step_by(64).for_each(|i| h.process(&mut all.slice(i, 3000.min(i + 64))));
        y
    };
    let once = go(&mut h);
    h.reset();
    assert_eq!(go(&mut h), once);
    assert_eq!(once[HOP..2900], first[latency(HOP, 64, 0)..][..2900 - HOP]);
}

#[test]
fn state_goes_on_from_exactly_here() {
    let spec = Prepare { sample_rate: common::RATE, max_block: 4000, channels: 2 };
    let x = sine(4000);
    let mut a = hosted(&pole(100, 1, &ready()), false, 0.0);
    a.set_param(2, 0.3);
    a.prepare(&spec).unwrap();
    let mut y = x.clone();
    let mut all = Block::new(&mut y, 4000, 4000);
    a.process(&mut all.slice(0, 1234));
    let mut saved = Vec::new();
    a.state(&mut StateIo::Save(&mut saved)).unwrap();
    a.process(&mut all.slice(1234, 4000));
    let mut b = hosted(&pole(100, 1, &ready()), false, 0.0);
    b.prepare(&spec).unwrap();
    b.state(&mut StateIo::Load(&saved)).unwrap();
    let mut z = x.clone();
    Processor::process(&mut *b, &mut Block::new(&mut z, 4000, 4000).slice(1234, 4000));
    assert_eq!(y[1234..4000], z[1234..4000]);
    assert_eq!(y[5234..], z[5234..]);
}

#[test]
fn what_does_not_fit_is_refused_with_its_reason() {
    let spec = |sample_rate, channels| Prepare { sample_rate, max_block: 64, channels };
    let mut h = hosted(&pole(HOP, 2, &ready()), false, 0.0);
    let why = h.prepare(&spec(44_100.0, 2)).unwrap_err().0;
    assert!(why.contains("runs at 48000 Hz and this chain at 44100 Hz; set sample_rate = 48000"), "{why}");
    let why = h.prepare(&spec(48_000.0, 6)).unwrap_err().0;
    assert!(why.contains("the model has 2 channels and this chain 6"), "{why}");
    assert!(hosted(&pole(HOP, 1, &ready()), false, 0.0).prepare(&spec(48_000.0, 6)).is_ok());
}

#[test]
fn one_description_for_one_model() {
    let a = info("again", "x", std::slice::from_ref(&*LEVEL));
    assert!(std::ptr::eq(a, info("again", "x", std::slice::from_ref(&*LEVEL))));
    assert!(!std::ptr::eq(a, info("again", "x", &[])));
}
