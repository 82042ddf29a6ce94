//! Hosted models when something happens: stalls, drops, failures and swaps are concealed, counted and silent.

mod common;
use common::model::{HOP, filtered, hosted, in_step, play, pole, ready, scale, settle};
use common::{allocations, engine, largest_step, run, sine};
use cspace_dsp::{Processor, StateError, StateIo};
use cspace_engine::hosted::{HopModel, HostedSpec, info, latency};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

#[test]
fn a_stalled_model_is_concealed_counted_and_keeps_its_latency() {
    for conceal in [0.0, 1.0] {
        let (mut driver, mut control) = engine(2, 64);
        let stalled = ready();
        let id = control.insert(0, hosted(&pole(HOP, 2, &stalled), true, 0.0)).unwrap();
        control.set(id, "conceal", conceal, 0).unwrap();
        let late_by = control.latency_samples();
        let x = sine(64 * 300);
        let expected = filtered(&x[..64 * 300]);
        let part = |from: usize, to: usize| {
            [&x[64 * from..64 * to], &x[64 * 300 + 64 * from..][..64 * (to - from)]].concat()
        };
        let mut out = play(&mut driver, &mut control, &part(0, 100), 64, HOP)[..6400].to_vec();
        stalled.store(true, SeqCst);
        let started = Instant::now();
        out.extend_from_slice(&run(&mut driver, &part(100, 150), 64)[..3200]);
        assert!(started.elapsed() < Duration::from_millis(500), "the audio thread waited for the model");
        stalled.store(false, SeqCst);
        settle(&mut control, 150);
        out.extend_from_slice(&play(&mut driver, &mut control, &part(150, 300), 64, HOP)[..9600]);

        let stats = control.stats();
        // The hop sent with block 99 was played in time; those after it were not, nor was that of block 149.
        assert!((48..=50).contains(&stats.slots[0].late_hops), "{} late hops", stats.slots[0].late_hops);
        assert_eq!(stats.slots[0].late_blocks, stats.slots[0].late_hops);
        let wet = |i: usize| expected[i - late_by];
        assert!((1000..6400).all(|i| out[i] == wet(i)), "before");
        assert!((10_200..19_200).all(|i| out[i] == wet(i)), "latency changed after the stall");
        // In the gap, once the fade is over: silence or the input.
        let stand_in = |i: usize| if conceal == 0.0 { 0.0 } else { x[i - late_by] };
        assert!((7200..9500).all(|i| (out[i] - stand_in(i)).abs() < 1e-6), "conceal {conceal}");
        // The signal itself moves by up to 0.01 a sample; fades of 10 and 5 ms over a level of 1 add 1/240.
        let step = out.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(step < 0.018, "concealment jumps by {step}");
    }
}

#[test]
fn a_model_gone_for_long_is_taken_back() {
    let (mut driver, mut control) = engine(2, 64);
    let stalled = ready();
    control.insert(0, hosted(&pole(HOP, 2, &stalled), true, 0.0)).unwrap();
    let x = vec![0.1; 2 * 64 * 10];
    play(&mut driver, &mut control, &x, 64, HOP);
    stalled.store(true, SeqCst);
    run(&mut driver, &vec![0.1; 2 * 48_000 * 3], 64); // 3 s: the ring of 2 s overflows
    stalled.store(false, SeqCst);
    let started = Instant::now();
    let mut last = 0.0;
    while (last - 0.5f32).abs() > 1e-6 {
        assert!(started.elapsed() < Duration::from_secs(20), "{last} after the stall");
        last = run(&mut driver, &vec![0.25; 128], 64)[0];
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn drops_are_seeded_and_the_same_live_and_offline() {
    let x = sine(64 * 200);
    let go = |live: bool, seed: f32, block: usize| {
        let (mut driver, mut control) = engine(2, block);
        let mut h = hosted(&pole(HOP, 2, &ready()), live, 0.0);
        for (name, value) in [("drop_rate", 0.2), ("drop_seed", seed)] {
            let id = h.info().param_id(name).unwrap();
            h.set_param(id, value);
        }
        control.insert(0, h).unwrap();
        let late_by = control.latency_samples();
        let y = play(&mut driver, &mut control, &x, block, HOP);
        let dropped = control.stats().slots[0].dropped_hops;
        (y[late_by..12_000].to_vec(), dropped)
    };
    let (offline, dropped) = go(false, 1.0, 64);
    assert!((25..=55).contains(&dropped), "{dropped} of 199 hops at a rate of 0.2");
    for block in [64, 100] {
        let (live, _) = go(true, 1.0, block);
        let n = live.len().min(offline.len());
        assert_eq!(live[..n], offline[..n]);
    }
    assert_eq!(go(false, 1.0, 1000).0, offline, "blocks do not matter");
    assert_ne!(go(false, 2.0, 64).0, offline);
    let untouched = filtered(&x[..64 * 200]);
    let touched = offline.iter().zip(&untouched).filter(|(a, b)| a != b).count();
    assert!(touched > 64 * 25, "dropped hops were heard: {touched} samples differ");
}

#[test]
fn swapping_models_does_not_click() {
    let steady = largest_step(&sine(4800));
    for (from, to) in [((1.0, 64), (-1.0, 64)), ((1.0, 64), (1.0, 512)), ((-1.0, 512), (1.0, 48))] {
        let (mut driver, mut control) = engine(2, 64);
        let id = control.insert(0, hosted(&scale(from.0, from.1, 0), true, 0.0)).unwrap();
        let x = sine(14_400);
        let all = |from: usize, to: usize| [&x[from..to], &x[14_400 + from..14_400 + to]].concat();
        let mut joined = in_step(&mut driver, &mut control, &all(0, 4800), |t| t / from.1, |_| 0);
        control.replace(id, hosted(&scale(to.0, to.1, 0), true, 0.0)).unwrap();
        let late_by = latency(to.1, 64, 0);
        assert_eq!(control.latency_samples(), late_by);
        // The old one plays until the new one has filled its latency and 10 ms of fade are over.
        // What it is sent in its last block it need not run any more.
        let end = (4800 + late_by + 480).div_ceil(64) * 64;
        let older = |t: usize| t.min(end - 64) / from.1;
        let newest = |t: usize| (t - 4800) / to.1;
        joined.extend(in_step(&mut driver, &mut control, &all(4800, 14_400), newest, older));
        let step = joined[1000..].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        // 10 ms from one to the other: at most 1/480 of the difference a sample.
        assert!(step < steady + 1.1 / 480.0, "{from:?} to {to:?} steps by {step}");
        assert_eq!(control.stats().slots[0].late_blocks, 0);
        let wrong = (12_000..14_400).find(|&i| joined[i] != to.0 * x[i - late_by]);
        assert_eq!(wrong, None, "{from:?} to {to:?}");
    }
}

#[test]
fn a_model_inserted_while_sound_plays_does_not_click() {
    let steady = largest_step(&sine(4800));
    let (mut driver, mut control) = engine(2, 64);
    let x = sine(9600);
    let mut joined = run(&mut driver, &[&x[..1920], &x[9600..11_520]].concat(), 64)[..1920].to_vec();
    control.insert(0, hosted(&scale(-1.0, 512, 0), true, 0.0)).unwrap();
    let rest = [&x[1920..9600], &x[11_520..]].concat();
    joined.extend(in_step(&mut driver, &mut control, &rest, |t| (t - 1920) / 512, |_| 0));
    let step = joined.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
    assert!(step < steady + 1.1 / 480.0, "steps by {step}");
    assert_eq!(control.stats().slots[0].late_blocks, 0);
}

#[test]
fn a_failing_model_is_muted_and_counted() {
    let (mut driver, mut control) = engine(2, 64);
    let failing = Arc::new(HostedSpec {
        info: info("scale", "A test model.", &[]),
        sample_rate: common::RATE,
        hop: HOP,
        channels: 1,
        latency: 0,
        tail: 0,
        load: Box::new(|| Ok(Box::new(FailsLater(0)))),
    });
    control.insert(0, hosted(&failing, false, 0.0)).unwrap();
    let y = run(&mut driver, &vec![0.5; 2 * 6400], 64);
    assert!(y.iter().all(|v| v.is_finite()));
    let slot = &control.stats().slots[0];
    assert!(slot.faults > 0 && slot.failed_hops > 0);
    let refused = hosted(&scale(0.0, HOP, 0), false, 0.0);
    let error = control.insert(0, refused).unwrap_err().to_string();
    assert!(error.contains("a model that fails"), "{error}");
}

/// Runs its warm-up and a few hops.
struct FailsLater(usize);

impl HopModel for FailsLater {
    fn run(&mut self, input: &[f32], output: &mut [f32], _parameters: &[f32]) -> Result<(), String> {
        output.copy_from_slice(input);
        self.0 += 1;
        if self.0 > 20 { Err("no more".into()) } else { Ok(()) }
    }
    fn reset(&mut self) {}
    fn state(&mut self, _io: &mut StateIo<'_>) -> Result<(), StateError> {
        Ok(())
    }
}

#[test]
fn the_audio_thread_allocates_nothing() {
    let stalled = ready();
    let (mut driver, mut control) = engine(2, 100);
    let id = control.insert(0, hosted(&pole(HOP, 2, &stalled), true, 0.0)).unwrap();
    let mut tap = control.subscribe(id, "hops", 480).unwrap();
    let mut x = vec![0.1; 200];
    let mut count = 0;
    for i in 0..600 {
        // From the first block on; in time, stalled, back again, dropped, and with knobs moving.
        stalled.store((100..160).contains(&i), SeqCst);
        if i % 50 == 7 {
            for (name, value) in [("wet", 0.5), ("drop_rate", 0.3), ("conceal", 1.0)] {
                control.set(id, name, value, 0).unwrap();
            }
            if i < 500 {
                control.set(id, "level", i as f32 / 300.0, 0).unwrap();
            }
        }
        if i == 400 {
            control.panic().unwrap();
        }
        if i == 500 {
            control.replace(id, hosted(&scale(-1.0, 48, 0), true, 0.0)).unwrap();
        }
        count += allocations(|| driver.process(&mut x, 100));
        control.drain();
        if i % 10 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(count, 0);
    let (mut times, mut values) = (Vec::new(), Vec::new());
    tap.read(&mut times, &mut values);
    assert!(values.iter().any(|&v| v > 0.0));
    assert!(control.stats().slots[0].late_hops > 0);
}
