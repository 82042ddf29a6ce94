//! Models that panic or never end: caught, stopped, counted, named, concealed; and nobody waits for them.

mod common;
use common::model::{HOP, hosted, pole, ready};
use common::{Fake, Kind, allocations, engine, run};
use cspace_dsp::{Prepare, Processor, StateError, StateIo};
use cspace_engine::hosted::{HopModel, HostedSpec, Stop, info, open, run_limit, stuck_threads};
use cspace_engine::{SlotStats, reaper};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The count of threads left behind is one for the whole program.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a [`Bad`] model does in its run number `at`, and from then on.
#[derive(Clone, Copy)]
enum Sin {
    Panics,
    /// Computes until it is stopped.
    Loops,
    /// Computes on, stopped or not, until it is let go.
    LoopsDeaf,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Stop for Flag {
    fn stop(&self) {
        self.0.store(true, SeqCst);
    }
}

struct Bad {
    sin: Sin,
    at: usize,
    runs: usize,
    stopped: Arc<Flag>,
    let_go: Arc<AtomicBool>,
    dropped: Arc<AtomicUsize>,
}

impl HopModel for Bad {
    fn run(&mut self, input: &[f32], output: &mut [f32], _parameters: &[f32]) -> Result<(), String> {
        output.copy_from_slice(input);
        self.runs += 1;
        self.stopped.0.store(false, SeqCst);
        if self.runs < self.at {
            return Ok(());
        }
        match self.sin {
            Sin::Panics => panic!("a test model panics in run {}", self.runs),
            Sin::Loops => {
                while !self.stopped.0.load(SeqCst) && !self.let_go.load(SeqCst) {
                    std::hint::spin_loop();
                }
                Err("stopped".into())
            }
            Sin::LoopsDeaf => {
                while !self.let_go.load(SeqCst) {
                    std::hint::spin_loop();
                }
                Ok(())
            }
        }
    }
    fn reset(&mut self) {}
    fn stop(&self) -> Option<Arc<dyn Stop>> {
        Some(self.stopped.clone())
    }
    fn state(&mut self, _io: &mut StateIo<'_>) -> Result<(), StateError> {
        Ok(())
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, SeqCst);
    }
}

/// The spec, what lets its models go, and how many of them were dropped.
fn bad(sin: Sin, at: usize) -> (Arc<HostedSpec>, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (let_go, dropped) = (ready(), Arc::new(AtomicUsize::new(0)));
    let (go, gone) = (let_go.clone(), dropped.clone());
    let spec = HostedSpec {
        info: info("bad", "A test model.", &[]),
        sample_rate: common::RATE,
        hop: HOP,
        channels: 2,
        latency: 0,
        tail: 0,
        load: Box::new(move || {
            let (let_go, dropped) = (go.clone(), gone.clone());
            Ok(Box::new(Bad { sin, at, runs: 0, stopped: Arc::default(), let_go, dropped }))
        }),
    };
    (Arc::new(spec), let_go, dropped)
}

fn quietly<T>(f: impl FnOnce() -> T) -> T {
    cspace_engine::keep_panics_quiet();
    f()
}

/// Plays a constant until the slot says what is expected; gives the sound since then, and the slot.
fn play_until(
    driver: &mut cspace_engine::Driver,
    control: &mut cspace_engine::Controller,
    expected: impl Fn(&SlotStats) -> bool,
) -> (Vec<f32>, SlotStats) {
    let started = Instant::now();
    let mut heard = Vec::new();
    loop {
        heard.extend_from_slice(&run(driver, &[0.25; 128], 64)[..64]);
        let slot = control.stats().slots.remove(0);
        if expected(&slot) {
            return (heard, slot);
        }
        assert!(started.elapsed() < Duration::from_secs(110), "it never came: {slot:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_model_that_panics_is_named_and_gives_way_to_its_input() {
    let _alone = alone();
    quietly(|| {
        let (mut driver, mut control) = engine(2, 64);
        let (spec, _, dropped) = bad(Sin::Panics, 40); // three runs are the warm-up
        let id = control.insert(0, hosted(&spec, true, 0.0)).unwrap();
        let (mut heard, slot) = play_until(&mut driver, &mut control, |s| s.out_of_use);
        assert_eq!((slot.panics, slot.hops), (1, 36));
        assert!(
            slot.fault.starts_with("the model panicked: a test model panics in run 40"),
            "{}",
            slot.fault
        );
        assert!(slot.fault.contains("hosted_faults.rs:"), "{}", slot.fault);
        let late = control.stats().slots[0].late_hops;
        heard.extend_from_slice(&run(&mut driver, &vec![0.25; 2 * 9600], 64)[..9600]);
        assert!(heard[heard.len() - 4800..].iter().all(|&v| v == 0.25), "the input passes");
        let step = heard[640..].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(step < 0.25 / 200.0, "it stepped by {step}"); // 5 ms at the least
        let stats = control.stats();
        assert_eq!((stats.panics, stats.slots[0].late_hops), (1, late), "what never comes is not late");
        // A healthy one in its place is heard, and the panic stays counted.
        control.replace(id, hosted(&pole(HOP, 2, &ready()), true, 0.0)).unwrap();
        let (_, slot) = play_until(&mut driver, &mut control, |s| s.hop_time.count > 60);
        assert_eq!((slot.out_of_use, slot.panics, slot.fault.as_str()), (false, 1, ""));
        assert!(reaper::wait(Duration::from_secs(60)));
        assert_eq!(dropped.load(SeqCst), 1);
        control.remove(id).unwrap();
        assert_eq!(control.stats().panics, 1, "also when the slot is gone");
    });
}

#[test]
fn a_model_that_panics_when_it_is_opened_is_refused() {
    let _alone = alone();
    quietly(|| {
        let (_driver, mut control) = engine(2, 64);
        let error = control.insert(0, hosted(&bad(Sin::Panics, 2).0, true, 0.0)).unwrap_err().to_string();
        assert!(error.contains("panicked while it was opened: a test model panics in run 2"), "{error}");
        assert!(control.slots().is_empty());
    });
}

#[test]
fn an_endless_model_is_stopped_and_after_three_hops_out_of_use() {
    let _alone = alone();
    let (mut driver, mut control) = engine(2, 64);
    let (spec, _, dropped) = bad(Sin::Loops, 40);
    let id = control.insert(0, hosted(&spec, true, 0.0)).unwrap();
    play_until(&mut driver, &mut control, |s| s.stopped_hops == 1 && !s.out_of_use && s.late_hops > 10);
    let (_, slot) = play_until(&mut driver, &mut control, |s| s.out_of_use);
    assert_eq!((slot.stopped_hops, slot.panics), (3, 0));
    assert!(slot.fault.starts_with("out of use after 3 hops in a row: a run of the model"), "{}", slot.fault);
    assert!(slot.fault.contains("after 2.000 s of computing"), "{}", slot.fault);
    let y = run(&mut driver, &vec![0.25; 2 * 9600], 64);
    assert!(y[4800..9600].iter().all(|&v| v == 0.25), "the input passes");
    control.remove(id).unwrap();
    run(&mut driver, &vec![0.25; 2 * 4800], 64);
    control.drain();
    assert!(reaper::wait(Duration::from_secs(60)));
    assert_eq!((dropped.load(SeqCst), stuck_threads()), (1, 0));
}

#[test]
fn an_endless_model_is_refused_and_its_thread_ends() {
    let _alone = alone();
    let (spec, _, dropped) = bad(Sin::Loops, 1);
    for live in [true, false] {
        let (_driver, mut control) = engine(2, 64);
        let error = control.insert(0, hosted(&spec, live, 0.0)).unwrap_err().to_string();
        assert!(error.contains("a run of the model, 64 samples, was not done after 2.000 s"), "{error}");
    }
    let started = Instant::now();
    while dropped.load(SeqCst) < 2 {
        assert!(started.elapsed() < Duration::from_secs(60), "the thread still has the model");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(stuck_threads(), 0);
}

#[test]
fn a_model_that_cannot_be_stopped_is_left_behind_and_counted() {
    let _alone = alone();
    // At once ...
    let (spec, let_go, _) = bad(Sin::LoopsDeaf, 2);
    let error = open(&spec, 1).map(|_| ()).unwrap_err();
    assert!(error.contains("it could not be stopped either"), "{error}");
    assert_eq!(stuck_threads(), 1);
    let_go.store(true, SeqCst);
    wait_for(|| stuck_threads() == 0);
    // ... and live: removing it keeps nobody waiting.
    let (spec, let_go, dropped) = bad(Sin::LoopsDeaf, 10);
    let (mut driver, mut control) = engine(2, 64);
    let id = control.insert(0, hosted(&spec, true, 0.0)).unwrap();
    play_until(&mut driver, &mut control, |s| s.hops == 6);
    control.remove(id).unwrap();
    run(&mut driver, &vec![0.25; 2 * 4800], 64);
    control.drain();
    wait_for(|| control.stats().stuck_threads == 1);
    let_go.store(true, SeqCst);
    wait_for(|| stuck_threads() == 0 && dropped.load(SeqCst) == 1);
}

fn wait_for(mut what: impl FnMut() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn limits_grow_with_the_hop() {
    assert_eq!(run_limit(64, 48_000.0), Duration::from_secs(2));
    assert_eq!(run_limit(6000, 48_000.0), Duration::from_secs(2));
    assert_eq!(run_limit(48_000, 48_000.0), Duration::from_secs(16));
}

/// Takes its time to be freed, and says which thread did it.
struct SlowToFree(Arc<Mutex<Option<std::thread::ThreadId>>>, Arc<AtomicBool>, Box<dyn Processor>);

impl Drop for SlowToFree {
    fn drop(&mut self) {
        while !self.1.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        *self.0.lock().unwrap() = Some(std::thread::current().id());
    }
}

impl Processor for SlowToFree {
    fn info(&self) -> &'static cspace_dsp::Info {
        self.2.info()
    }
    fn prepare(&mut self, _spec: &Prepare) -> Result<(), cspace_dsp::PrepareError> {
        Ok(())
    }
    fn process(&mut self, _block: &mut cspace_dsp::Block<'_>) {}
    fn reset(&mut self) {}
    fn set_param(&mut self, _id: usize, _value: f32) {}
    fn param(&self, _id: usize) -> f32 {
        0.0
    }
    fn state(&mut self, _io: &mut StateIo<'_>) -> Result<(), StateError> {
        Ok(())
    }
}

/// Whoever holds the controller's lock waits for no destructor: each of these would wait for ever.
#[test]
fn what_comes_home_or_is_refused_is_freed_by_a_thread_of_its_own() {
    let _alone = alone();
    let (mut driver, mut control) = engine(2, 64);
    let go = ready();
    let mut freed = Vec::new();
    let mut slow = || {
        let by = Arc::new(Mutex::new(None));
        freed.push(by.clone());
        Box::new(SlowToFree(by, go.clone(), Fake::boxed(Kind::Add))) as Box<dyn Processor>
    };
    let id = control.insert_named(0, slow(), "slow").unwrap();
    let silence = vec![0.0; 2 * 4800];
    run(&mut driver, &silence, 64);
    control.replace_prepared(id, slow()).unwrap(); // the first comes home
    run(&mut driver, &silence, 64);
    control.stats();
    control.remove(id).unwrap(); // so does the second
    run(&mut driver, &silence, 64);
    control.reset_stats();
    assert!(control.replace_prepared(id, slow()).is_err()); // refused: no such slot
    let other = control.insert_named(0, Fake::boxed(Kind::Add), "add").unwrap();
    while control.set(other, "value", 1.0, 0).is_ok() {}
    assert!(control.insert_named(0, slow(), "slow").is_err()); // refused: the queue is full
    run(&mut driver, &silence, 64);
    for _ in 1..cspace_engine::MAX_SLOTS {
        control.insert_named(0, Fake::boxed(Kind::Add), "add").unwrap();
    }
    assert!(control.insert_named(0, slow(), "slow").is_err()); // refused: the chain is full
    assert!(freed.iter().all(|by| by.lock().unwrap().is_none()));
    go.store(true, SeqCst);
    assert!(reaper::wait(Duration::from_secs(60)));
    let here = std::thread::current().id();
    assert!(freed.iter().all(|by| by.lock().unwrap().is_some_and(|t| t != here)));
}

#[test]
fn the_audio_side_allocates_nothing_for_a_model_that_misbehaves() {
    let _alone = alone();
    quietly(|| {
        for sin in [Sin::Panics, Sin::Loops] {
            let (mut driver, mut control) = engine(2, 64);
            let id = control.insert(0, hosted(&bad(sin, 10).0, true, 0.0)).unwrap();
            let mut audio = vec![0.25; 128];
            let (mut count, started) = (0, Instant::now());
            let done = |s: &SlotStats| s.out_of_use || s.stopped_hops == 1;
            while !done(&control.stats().slots[0]) {
                count += allocations(|| driver.process(&mut audio, 64));
                assert!(started.elapsed() < Duration::from_secs(110));
                std::thread::sleep(Duration::from_millis(1));
            }
            control.remove(id).unwrap();
            for _ in 0..100 {
                count += allocations(|| driver.process(&mut audio, 64));
            }
            assert_eq!(count, 0);
        }
    });
}
