//! Files at the ends of a chain: exact samples for any block, gaps counted, nothing allocated.

mod common;
use common::{Fake, Kind, allocations, engine, run, sine};
use cspace_engine::driver::pa_callback;

fn interleaved(planar: &[f32]) -> Vec<f32> {
    let n = planar.len() / 2;
    (0..n).flat_map(|i| [planar[i], planar[n + i]]).collect()
}

#[test]
fn player_and_recorder_are_exact_for_every_block() {
    let x = sine(1000);
    for block in [1, 7, 64, 100, 333] {
        let (mut driver, mut control) = engine(2, 64);
        control.insert_named(0, Fake::boxed(Kind::Scale(0.5)), "half").unwrap();
        let (player, mut file) = control.insert_player(0, 1.0).unwrap();
        let (recorder, mut take) = control.insert_recorder(9, 1.0).unwrap();
        assert_eq!(file.feed(interleaved(&x).into_iter()), 1000);
        file.end();
        assert!(!file.finished());
        // The device's own input, 9, is not heard; after the file comes silence.
        let y = run(&mut driver, &vec![9.0; 2 * 1200], block);
        let expected: Vec<f32> = x.iter().map(|v| v * 0.5).collect();
        assert_eq!(y[..1000], expected[..1000], "block {block}");
        assert_eq!(y[1200..2200], expected[1000..]);
        assert!(y[1000..1200].iter().all(|&v| v == 0.0));
        assert!(file.finished());
        assert_eq!(file.played(), 1000);
        assert_eq!(take.drain(700).len(), 1400);
        assert_eq!(take.drain(usize::MAX).len(), 1000);
        let stats = control.stats();
        assert_eq!(stats.slots.first().map(|s| (s.slot, s.late_blocks)), Some((player, 0)));
        assert_eq!(stats.slots.last().map(|s| (s.slot, s.late_blocks)), Some((recorder, 0)));
    }
}

#[test]
fn the_recorder_keeps_what_the_device_hears() {
    let x = sine(500);
    let (mut driver, mut control) = engine(2, 64);
    let (_, mut take) = control.insert_recorder(0, 1.0).unwrap();
    assert_eq!(run(&mut driver, &x, 50), x);
    assert_eq!(take.drain(usize::MAX), interleaved(&x));
}

#[test]
fn an_underrun_is_silent_counted_and_loses_nothing() {
    let (mut driver, mut control) = engine(2, 64);
    let (_, mut file) = control.insert_player(0, 1.0).unwrap();
    assert_eq!(file.feed(vec![0.25; 2 * 100].into_iter()), 100);
    let y = run(&mut driver, &vec![9.0; 2 * 256], 64);
    assert!(y[..100].iter().all(|&v| v == 0.25));
    assert!(y[100..256].iter().all(|&v| v == 0.0));
    assert_eq!(control.stats().slots[0].late_blocks, 3); // 36 of 64 frames, 0 of 64 twice
    assert_eq!(file.feed(vec![0.5; 2 * 64].into_iter()), 64);
    assert_eq!(run(&mut driver, &vec![9.0; 128], 64), vec![0.5; 128]);
    file.end();
    run(&mut driver, &vec![9.0; 128], 64);
    assert_eq!(control.stats().slots[0].late_blocks, 3);
}

#[test]
fn a_full_recorder_counts_what_it_drops() {
    let (mut driver, mut control) = engine(2, 64);
    let (_, mut take) = control.insert_recorder(0, 0.01).unwrap(); // 480 frames
    run(&mut driver, &sine(640), 64);
    assert_eq!(control.stats().slots[0].late_blocks, 3);
    assert_eq!(take.dropped(), 160);
    assert_eq!(take.drain(usize::MAX).len(), 2 * 480);
    run(&mut driver, &sine(64), 64);
    assert_eq!(take.drain(usize::MAX), interleaved(&sine(64)));
}

#[test]
fn bad_samples_of_a_file_are_silent_and_the_meter_shows_the_file() {
    let (mut driver, mut control) = engine(2, 64);
    let (_, mut file) = control.insert_player(0, 1.0).unwrap();
    let mut x = vec![0.25; 128];
    x[10] = f32::NAN;
    file.feed(x.into_iter());
    let y = run(&mut driver, &[0.0; 128], 64);
    assert_eq!(y[5], 0.0);
    assert_eq!(y.iter().filter(|&&v| v == 0.25).count(), 127);
    let stats = control.stats();
    assert_eq!((stats.bad_input_samples, stats.slots[0].faults), (1, 0));
    assert_eq!(stats.input_peak, [0.25, 0.25]);
}

#[test]
fn streams_of_one_direction_run_without_allocating() {
    let (mut driver, mut control) = engine(2, 64);
    let (_, mut file) = control.insert_player(0, 1.0).unwrap();
    let (_, mut take) = control.insert_recorder(1, 1.0).unwrap();
    let x = interleaved(&sine(200));
    file.feed(x.iter().copied());
    let n = allocations(|| {
        // SAFETY: no buffers, as PortAudio calls a stream of which only one side matters; the
        // driver is exclusive.
        unsafe {
            pa_callback(
                std::ptr::null(),
                std::ptr::null_mut(),
                200,
                std::ptr::null(),
                0,
                (&raw mut driver).cast(),
            );
        }
    });
    assert_eq!(n, 0, "the callback allocates");
    assert_eq!(take.drain(usize::MAX), x);
}

#[test]
fn a_move_to_a_slot_that_leaves_stays_in_front_of_the_recorder() {
    for order in [[0, 1], [1, 0]] {
        let (mut driver, mut control) = engine(2, 64);
        let ids = order.map(|k| {
            let kind = if k == 0 { Kind::Scale(0.5) } else { Kind::Scale(1.0) };
            control.insert_named(usize::MAX, Fake::boxed(kind), "x").unwrap()
        });
        let (half, leaves) = (ids[order[0]], ids[order[1]]);
        let (recorder, mut take) = control.insert_recorder(usize::MAX, 1.0).unwrap();
        run(&mut driver, &sine(64), 64);
        control.move_to(half, 0).unwrap();
        control.remove(leaves).unwrap();
        assert_eq!(control.slots().iter().map(|s| s.id).collect::<Vec<_>>(), [half, recorder]);
        run(&mut driver, &vec![0.5; 2 * 2048], 64);
        take.drain(usize::MAX);
        assert_eq!(run(&mut driver, &vec![0.5; 128], 64), vec![0.25; 128]);
        assert_eq!(take.drain(usize::MAX), vec![0.25; 128], "what is heard is what is recorded");
    }
}

#[test]
fn an_ear_hears_what_enters_its_slot_and_changes_nothing() {
    let x = sine(600);
    let (mut driver, mut control) = engine(2, 64);
    control.insert_named(0, Fake::boxed(Kind::Scale(0.5)), "half").unwrap();
    let slot = control.insert_named(1, Fake::boxed(Kind::Scale(0.5)), "quarter").unwrap();
    let latency = control.latency_samples();
    let mut ear = control.listen(slot, 1.0).unwrap();
    assert_eq!(control.latency_samples(), latency);
    let y = run(&mut driver, &x, 64);
    let half: Vec<f32> = x.iter().map(|v| v * 0.5).collect();
    assert_eq!(ear.drain(usize::MAX), interleaved(&half));
    assert_eq!(y, half.iter().map(|v| v * 0.5).collect::<Vec<_>>());
    assert_eq!(ear.dropped(), 0);
    // A second one takes its place; one that is let go comes home.
    let mut second = control.listen(slot, 1.0).unwrap();
    run(&mut driver, &x, 64);
    assert_eq!(ear.drain(usize::MAX).len(), 0);
    assert_eq!(second.drain(usize::MAX).len(), 1200);
    drop(second);
    let without = allocations(|| drop(run(&mut driver, &x, 64)));
    control.drain();
    let _third = control.listen(slot, 1.0).unwrap();
    let with = allocations(|| drop(run(&mut driver, &x, 64)));
    assert_eq!(with, without, "what the driver of the test needs, and no more");
    assert!(control.listen(99, 1.0).is_err());
}
