//! Hosted models: live equals offline, exact latency, concealment, silent swaps, no allocation.

mod common;
use common::{allocations, engine, largest_step, run, sine};
use cspace_dsp::{Block, Prepare, Processor, StateError, StateIo};
use cspace_engine::hosted::{HopModel, Hosted, HostedSpec, ModelParameter, info, latency};
use cspace_engine::{Controller, Driver};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

const HOP: usize = 64;

/// A one-pole filter with a parameter for its level, per channel; stands still while `stalled`.
struct Pole {
    channels: usize,
    last: Vec<f32>,
    stalled: Arc<AtomicBool>,
}

impl HopModel for Pole {
    fn run(&mut self, input: &[f32], output: &mut [f32], parameters: &[f32]) -> Result<(), String> {
        while self.stalled.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let hop = input.len() / self.channels;
        for (i, (y, x)) in output.iter_mut().zip(input).enumerate() {
            let last = &mut self.last[i / hop];
            *last = parameters[0] * x + 0.5 * *last;
            *y = *last;
        }
        Ok(())
    }
    fn reset(&mut self) {
        self.last.fill(0.0);
    }
    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.last)
    }
}

/// Passes its input times a number.
struct Scale(f32);

impl HopModel for Scale {
    fn run(&mut self, input: &[f32], output: &mut [f32], _parameters: &[f32]) -> Result<(), String> {
        output.iter_mut().zip(input).for_each(|(y, x)| *y = self.0 * x);
        if self.0 == 0.0 { Err("a model that fails".into()) } else { Ok(()) }
    }
    fn reset(&mut self) {}
    fn state(&mut self, _io: &mut StateIo<'_>) -> Result<(), StateError> {
        Ok(())
    }
}

static LEVEL: LazyLock<ModelParameter> = LazyLock::new(|| ModelParameter {
    name: "level".into(),
    unit: String::new(),
    min: 0.0,
    max: 4.0,
    default: 1.0,
    smooth_ms: 20.0,
    doc: "Level.".into(),
});

fn pole(hop: usize, channels: usize, stalled: &Arc<AtomicBool>) -> Arc<HostedSpec> {
    let stalled = stalled.clone();
    Arc::new(HostedSpec {
        info: info("pole", "A test model.", std::slice::from_ref(&*LEVEL)),
        sample_rate: common::RATE,
        hop,
        channels,
        latency: 0,
        tail: 100,
        load: Box::new(move || {
            Ok(Box::new(Pole { channels, last: vec![0.0; channels], stalled: stalled.clone() }))
        }),
    })
}

fn scale(factor: f32, hop: usize, own_latency: usize) -> Arc<HostedSpec> {
    Arc::new(HostedSpec {
        info: info("scale", "A test model.", &[]),
        sample_rate: common::RATE,
        hop,
        channels: 1,
        latency: own_latency,
        tail: 0,
        load: Box::new(move || Ok(Box::new(Scale(factor)))),
    })
}

fn hosted(spec: &Arc<HostedSpec>, live: bool, spare_ms: f32) -> Box<Hosted> {
    let mut h = Hosted::new(spec.clone(), live);
    let id = h.info().param_id("spare_ms").unwrap();
    h.set_param(id, spare_ms);
    Box::new(h)
}

/// Waits until the worker of slot 0 has run so many hops.
fn settle(control: &mut Controller, hops: usize) {
    let started = Instant::now();
    while control.stats().slots[0].hops < hops as u64 {
        assert!(started.elapsed() < Duration::from_secs(20), "the worker stands still");
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Plays stereo, in step with the worker: after each block all hops so far are done.
fn play(driver: &mut Driver, control: &mut Controller, x: &[f32], block: usize, hop: usize) -> Vec<f32> {
    let frames = x.len() / 2;
    let mut out = x.to_vec();
    let before = control.stats();
    let (done, start) = (before.slots[0].hops as usize * hop, before.sample_time as usize);
    assert_eq!(done / hop, start / hop, "one run per hop so far");
    for from in (0..frames).step_by(block) {
        let n = block.min(frames - from);
        let mut part = [&x[from..from + n], &x[frames + from..][..n]].concat();
        driver.process(&mut part, n);
        out[from..from + n].copy_from_slice(&part[..n]);
        out[frames + from..][..n].copy_from_slice(&part[n..]);
        settle(control, (start + from + n) / hop);
    }
    out
}

fn ready() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(false))
}

/// What the pole gives for a channel of input.
fn filtered(x: &[f32]) -> Vec<f32> {
    let mut last = 0.0;
    x.iter()
        .map(|v| {
            last = v + 0.5 * last;
            last
        })
        .collect()
}

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

/// Plays stereo in blocks of 64; after each, waits until the newest model of slot 0 has run `newest`
/// hops and those before it `older`.
fn in_step(
    driver: &mut Driver,
    control: &mut Controller,
    x: &[f32],
    newest: impl Fn(usize) -> usize,
    older: impl Fn(usize) -> usize,
) -> Vec<f32> {
    let frames = x.len() / 2;
    let mut out = Vec::new();
    let start = control.stats().sample_time as usize;
    for from in (0..frames).step_by(64) {
        let y = run(driver, &[&x[from..from + 64], &x[frames + from..][..64]].concat(), 64);
        out.extend_from_slice(&y[..64]);
        let (t, started) = (start + from + 64, Instant::now());
        loop {
            let slot = control.stats().slots.remove(0);
            let others = slot.hops.saturating_sub(slot.hop_time.count);
            if slot.hop_time.count >= newest(t) as u64 && others >= older(t) as u64 {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "a worker stands still");
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    out
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

#[test]
fn one_description_for_one_model() {
    let a = info("again", "x", std::slice::from_ref(&*LEVEL));
    assert!(std::ptr::eq(a, info("again", "x", std::slice::from_ref(&*LEVEL))));
    assert!(!std::ptr::eq(a, info("again", "x", &[])));
}
