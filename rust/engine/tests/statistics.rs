//! What the control side keeps of slots: no more than of those that are there; and what a panic leaves behind.

mod common;
use common::{Fake, Kind, allocations, engine, run};
use cspace_dsp::{Block, Info, ParamSpec, Prepare, PrepareError, Processor, StateError, StateIo, TapSpec};

#[test]
fn times_of_slots_that_are_gone_are_let_go() {
    let (mut driver, mut control) = engine(2, 64);
    let stays = control.insert_named(0, Fake::boxed(Kind::Add), "stays").unwrap();
    for _ in 0..500 {
        let id = control.insert_named(0, Fake::boxed(Kind::Add), "goes").unwrap();
        run(&mut driver, &vec![0.0; 2 * 640], 64);
        control.drain();
        control.remove(id).unwrap();
        run(&mut driver, &vec![0.0; 2 * 640], 64); // fades out, and its times still arrive
        control.drain();
    }
    let stats = control.stats();
    assert_eq!(stats.histograms, 2, "the block's and that of the slot that stays");
    assert_eq!((stats.slots[0].slot, stats.slots[0].time.count), (stays, stats.blocks));
    control.reset_stats();
    assert_eq!(control.stats().histograms, 1);
}

static PARAMS: [ParamSpec; 1] = [ParamSpec::new("value", "", (0.0, 1.0), 0.0).smooth_ms(0.0).doc("x")];
static TAPS: [TapSpec; 1] = [TapSpec { name: "tap", doc: "x" }];
static INFO: Info = Info { name: "bomb", doc: "x", params: &PARAMS, taps: &TAPS, arrays: &[] };

/// Panics in the call of this name.
struct Bomb(&'static str);

impl Bomb {
    fn tick(&self, call: &str) {
        assert_ne!(self.0, call, "a test processor goes off");
    }
}

impl Processor for Bomb {
    fn info(&self) -> &'static Info {
        &INFO
    }
    fn prepare(&mut self, _spec: &Prepare) -> Result<(), PrepareError> {
        Ok(())
    }
    fn process(&mut self, block: &mut Block<'_>) {
        self.tick("process");
        block.channels_mut().for_each(|c| c.iter_mut().for_each(|x| *x *= 0.5));
    }
    fn reset(&mut self) {
        self.tick("reset");
    }
    fn set_param(&mut self, _id: usize, _value: f32) {
        self.tick("set_param");
    }
    fn param(&self, _id: usize) -> f32 {
        0.0
    }
    fn tap_len(&self, _id: usize) -> usize {
        1
    }
    fn read_tap(&self, _id: usize, _out: &mut [f32]) {
        self.tick("read_tap");
    }
    fn state(&mut self, _io: &mut StateIo<'_>) -> Result<(), StateError> {
        Ok(())
    }
}

#[test]
fn a_panic_in_any_call_is_caught_named_and_undone_by_a_replacement() {
    cspace_engine::keep_panics_quiet();
    for call in ["process", "reset", "set_param", "read_tap"] {
        let (mut driver, mut control) = engine(2, 64);
        let id = control.insert_named(0, Box::new(Bomb(call)), "bomb").unwrap();
        let _tap = control.subscribe(id, "tap", 100).unwrap();
        if call != "process" {
            assert_eq!(run(&mut driver, &[1.0; 128], 64)[63], 0.5);
        }
        control.set(id, "value", 1.0, 0).unwrap();
        control.panic().unwrap();
        run(&mut driver, &vec![1.0; 2 * 4800], 64);
        let y = run(&mut driver, &vec![1.0; 2 * 4800], 64);
        assert_eq!(y[4799], 1.0, "{call}: the input passes");
        let stats = control.stats();
        let slot = &stats.slots[0];
        assert_eq!((stats.panics, slot.panics, slot.out_of_use), (1, 1, true), "{call}");
        assert!(slot.fault.contains("a test processor goes off"), "{call}: {}", slot.fault);
        assert_eq!(control.out_of_use().map(|o| o.0).as_deref(), Some("bomb"));
        control.replace_prepared(id, Box::new(Bomb("nothing"))).unwrap();
        run(&mut driver, &vec![1.0; 2 * 4800], 64);
        let y = run(&mut driver, &vec![1.0; 2 * 4800], 64);
        assert_eq!(y[4799], 0.5, "{call}: the new one is heard");
        assert!(!control.stats().slots[0].out_of_use);
    }
}

/// The panic's own words are on the heap before anybody can catch it; all that follows is not.
#[test]
fn a_panic_frees_nothing_on_the_audio_side() {
    cspace_engine::keep_panics_quiet();
    let (mut driver, mut control) = engine(2, 64);
    control.insert_named(0, Fake::boxed(Kind::PanicAt(100)), "bad").unwrap();
    let mut audio = vec![0.1; 128];
    let counts: Vec<usize> = (0..4).map(|_| allocations(|| driver.process(&mut audio, 64))).collect();
    assert_eq!((counts[0], counts[2], counts[3]), (0, 0, 0));
    assert_eq!(control.stats().slots[0].panics, 1);
}
