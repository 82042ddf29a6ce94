//! The block loop: events to the sample, silent edits, guards, taps, no allocation.

mod common;
use common::{Fake, Kind, allocations, engine, largest_step, run, sine};
use cspace_dsp::registry;
use cspace_engine::EditError;

#[test]
fn timed_events_land_on_their_sample_for_any_block_size() {
    let go = |size: usize| {
        let (mut driver, mut control) = engine(2, 256);
        let id = control.insert_named(0, Fake::boxed(Kind::Add), "add").unwrap();
        for (time, value) in [(100, 1.0), (101, 2.0), (333, 3.0), (333, 4.0)] {
            control.set(id, "value", value, time).unwrap();
        }
        run(&mut driver, &vec![0.0; 1000], size)
    };
    let whole = go(500);
    assert_eq!((whole[99], whole[100], whole[101], whole[332], whole[333]), (0.0, 1.0, 2.0, 2.0, 4.0));
    for size in [1, 64, 65, 128] {
        assert_eq!(go(size), whole, "blocks of {size}");
    }
}

#[test]
fn events_of_the_past_take_effect_at_the_next_block() {
    let (mut driver, mut control) = engine(2, 64);
    let id = control.insert_named(0, Fake::boxed(Kind::Add), "add").unwrap();
    run(&mut driver, &[0.0; 256], 64);
    control.set(id, "value", 5.0, 3).unwrap();
    assert!(run(&mut driver, &[0.0; 128], 64).iter().all(|&v| v == 5.0));
}

#[test]
fn edits_do_not_click() {
    let steady = largest_step(&sine(4800));
    type Edit = fn(&mut cspace_engine::Controller, &[u32]);
    let edits: [(&str, Edit); 6] = [
        ("insert", |c, _| assert!(c.insert_named(1, Fake::boxed(Kind::Scale(-1.0)), "new").is_ok())),
        ("remove", |c, ids| c.remove(ids[0]).unwrap()),
        ("replace", |c, ids| c.replace_prepared(ids[0], Fake::boxed(Kind::Scale(-1.0))).unwrap()),
        ("bypass", |c, ids| c.bypass(ids[0], true).unwrap()),
        ("move", |c, ids| c.move_to(ids[0], 1).unwrap()),
        ("panic", |c, _| c.panic().unwrap()),
    ];
    for (name, edit) in edits {
        let (mut driver, mut control) = engine(2, 64);
        let ids = [Kind::Scale(-0.5), Kind::Delay(30)]
            .map(|k| control.insert_named(9, Fake::boxed(k), "slot").unwrap());
        let x = sine(9600);
        let before = run(&mut driver, &[&x[..4800], &x[9600..14_400]].concat(), 64);
        edit(&mut control, &ids);
        let after = run(&mut driver, &[&x[4800..9600], &x[14_400..]].concat(), 64);
        let joined: Vec<f32> = [&before[..4800], &after[..4800], &before[..4800], &after[..4800]].concat();
        // A 10 ms fade between signals of up to 0.5 in opposite phase adds at most 1/480 per sample.
        assert!(largest_step(&joined[1000..10_600]) < steady + 1.1 / 480.0, "{name} clicks");
        control.drain();
    }
}

#[test]
fn edits_end_where_they_should() {
    let (mut driver, mut control) = engine(2, 64);
    let x = vec![1.0; 4000];
    let last = |y: Vec<f32>| *y.last().unwrap();
    let a = control.insert_named(0, Fake::boxed(Kind::Scale(2.0)), "a").unwrap();
    assert_eq!(run(&mut driver, &x, 64)[0], 2.0, "before the first sample there is nothing to fade from");
    let b = control.insert_named(0, Fake::boxed(Kind::Add), "b").unwrap();
    control.set(b, "value", 1.0, 0).unwrap();
    assert_eq!(last(run(&mut driver, &x, 64)), 4.0);
    control.move_to(b, 1).unwrap();
    assert_eq!(last(run(&mut driver, &x, 64)), 3.0);
    control.bypass(a, true).unwrap();
    assert_eq!(last(run(&mut driver, &x, 64)), 2.0);
    control.bypass(a, false).unwrap();
    // Three replacements at once: the newest is heard in the end, the others come home.
    for g in [5.0, 6.0, 7.0] {
        control.replace_prepared(a, Fake::boxed(Kind::Scale(g))).unwrap();
    }
    assert_eq!(last(run(&mut driver, &x, 64)), 8.0);
    control.remove(b).unwrap();
    assert_eq!(last(run(&mut driver, &x, 64)), 7.0);
    assert_eq!(control.slots().len(), 1);
    assert_eq!(control.remove(b), Err(EditError::NoSlot(b)));
    assert_eq!(control.set(a, "volume", 1.0, 0), Err(EditError::NoName("volume".into())));
    assert!(control.set(a, "value", f32::NAN, 0).is_err());
}

#[test]
fn bypass_keeps_the_latency() {
    let (mut driver, mut control) = engine(2, 64);
    let id = control.insert_named(0, Fake::boxed(Kind::Delay(100)), "delay").unwrap();
    control.bypass(id, true).unwrap();
    let mut x = vec![0.0; 2000];
    x[0] = 1.0;
    let y = run(&mut driver, &x, 64);
    assert_eq!(y.iter().position(|&v| v == 1.0), Some(100));
    assert_eq!(control.latency_samples(), 100);
}

#[test]
fn nan_is_muted_counted_and_healed() {
    let (mut driver, mut control) = engine(2, 64);
    control.insert_named(0, Fake::boxed(Kind::NanAt(1000)), "bad").unwrap();
    control.insert_named(1, Fake::boxed(Kind::Scale(2.0)), "good").unwrap();
    let y = run(&mut driver, &vec![0.25; 2 * 1980], 64);
    assert!(y.iter().all(|v| v.is_finite()));
    assert_eq!((y[959], y[960], y[1023], y[1979]), (0.5, 0.0, 0.0, 0.5), "muted for one block, then back");
    let stats = control.stats();
    assert_eq!((stats.slots[0].faults, stats.slots[1].faults), (1, 0));
}

#[test]
fn nan_from_outside_is_replaced_and_counted() {
    let (mut driver, mut control) = engine(2, 64);
    let mut x = vec![0.5; 256];
    x[7] = f32::NAN;
    x[9] = f32::NEG_INFINITY;
    let y = run(&mut driver, &x, 64);
    assert_eq!((y[7], y[8], y[9]), (0.0, 0.5, 0.0));
    assert_eq!(control.stats().bad_input_samples, 2);
}

#[test]
fn a_panic_silences_one_block_and_then_passes_dry() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut driver, mut control) = engine(2, 64);
    control.insert_named(0, Fake::boxed(Kind::PanicAt(100)), "bad").unwrap();
    let y = run(&mut driver, &vec![0.25; 4000], 64);
    std::panic::set_hook(hook);
    assert_eq!((y[63], y[64], y[127], y[1999]), (0.25, 0.0, 0.0, 0.25));
    let stats = control.stats();
    assert_eq!((stats.panics, stats.slots[0].panics), (1, 1));
}

#[test]
fn a_tap_of_a_processor_that_panicked_drops_its_frames() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut driver, mut control) = engine(2, 64);
    let id = control.insert_named(0, Fake::boxed(Kind::PanicAt(100)), "bad").unwrap();
    let mut tap = control.subscribe(id, "seen", 10).unwrap();
    run(&mut driver, &vec![0.25; 2000], 64);
    std::panic::set_hook(hook);
    let (mut times, mut values) = (Vec::new(), Vec::new());
    tap.read(&mut times, &mut values);
    assert_eq!(times.last(), Some(&100), "the tap splits the block, so all samples before the panic count");
    assert_eq!(tap.dropped() as usize + times.len(), 100);
}

#[test]
fn taps_give_frames_at_exact_times() {
    for size in [1, 64, 100] {
        let (mut driver, mut control) = engine(2, 128);
        let id = control.insert_named(0, Fake::boxed(Kind::Add), "x").unwrap();
        let mut tap = control.subscribe(id, "seen", 48).unwrap();
        run(&mut driver, &vec![0.0; 2000], size);
        let (mut times, mut values) = (Vec::new(), Vec::new());
        tap.read(&mut times, &mut values);
        assert_eq!(times, (1..=20).map(|k| k * 48).collect::<Vec<u64>>());
        assert!(values.chunks(2).zip(&times).all(|(v, &t)| v == [t as f32, 1.0]));
        assert_eq!(tap.dropped(), 0);
        // An abandoned tap goes home and makes room.
        drop(tap);
        run(&mut driver, &[0.0; 128], 64);
        control.drain();
        for _ in 0..cspace_engine::MAX_TAPS_PER_SLOT {
            std::mem::forget(control.subscribe(id, "seen", 480).unwrap());
        }
        assert!(matches!(control.subscribe(id, "seen", 1), Err(EditError::TooManyTaps)));
    }
}

#[test]
fn processing_never_allocates_whatever_arrives() {
    let (mut driver, mut control) = engine(2, 256);
    let mut audio = vec![0.1; 512];
    let ids: Vec<u32> = registry::all()
        .map(|info| control.insert(99, registry::create(info.name).unwrap()).unwrap())
        .collect();
    let mut total = 0;
    for round in 0u64..60 {
        match round % 10 {
            0 => {
                let slot = control.slots().last().expect("never empty here");
                let id = slot.id;
                if let Some(p) = slot.info.params.iter().find(|p| !p.setup) {
                    control.set(id, p.name, p.max, round * 256 + 77).unwrap();
                }
            }
            2 => assert!(control.insert(0, registry::create("gain").unwrap()).is_ok()),
            3 => control.replace(ids[0], registry::create("gain").unwrap()).unwrap(),
            4 => control.bypass(ids[1], round % 20 == 4).unwrap(),
            5 => control.remove(control.slots()[0].id).unwrap(),
            6 => control.move_to(*ids.last().unwrap(), 1).unwrap(),
            7 => control.panic().unwrap(),
            _ => {}
        }
        total += allocations(|| driver.process(&mut audio, 256));
    }
    assert_eq!(total, 0);
    control.drain();
    assert_eq!(control.stats().blocks, 60);
}

#[test]
fn a_full_queue_refuses_and_counts_and_loses_nothing_else() {
    let (mut driver, mut control) = engine(2, 64);
    let id = control.insert_named(0, Fake::boxed(Kind::Add), "add").unwrap();
    let sent = (0..10_000).take_while(|_| control.set(id, "value", 1.0, 0).is_ok()).count();
    assert_eq!(sent, cspace_engine::COMMAND_CAPACITY - 1);
    assert!(control.remove(id).is_err());
    assert_eq!(control.slots().len(), 1);
    run(&mut driver, &[0.0; 128], 64);
    control.set(id, "value", 3.0, 0).unwrap();
    assert_eq!(run(&mut driver, &[0.0; 128], 64)[0], 3.0);
    // Too many events for the future: the rest are dropped and counted.
    for i in 0..cspace_engine::PENDING_CAPACITY + 10 {
        control.set(id, "value", 0.0, 1_000_000 + i as u64).unwrap();
    }
    run(&mut driver, &[0.0; 128], 64);
    assert_eq!(control.stats().dropped_events, 1 + 10);
}

#[test]
fn wrong_configurations_are_refused_by_name() {
    use cspace_engine::Config;
    for (config, word) in [
        (Config { sample_rate: 4000.0, channels: 2, max_block: 64 }, "4000"),
        (Config { sample_rate: f64::NAN, channels: 2, max_block: 64 }, "sample rate"),
        (Config { sample_rate: 48_000.0, channels: 0, max_block: 64 }, "channels"),
        (Config { sample_rate: 48_000.0, channels: 2, max_block: 0 }, "block"),
    ] {
        assert!(cspace_engine::new(config).err().unwrap().contains(word));
    }
}
