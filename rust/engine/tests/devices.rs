//! The ways audio reaches the engine give the same samples: PortAudio's callback, the paced
//! thread, and the device-free driver.

mod common;
use common::{Fake, Kind, allocations, engine, run, sine};
use cspace_engine::driver::pa_callback;
use cspace_engine::paced::Paced;
use std::ffi::c_void;
use std::time::{Duration, Instant};

fn interleaved(planar: &[f32]) -> Vec<f32> {
    let n = planar.len() / 2;
    (0..n).flat_map(|i| [planar[i], planar[n + i]]).collect()
}

#[test]
fn callback_equals_driver_and_counts_flags() {
    let x = sine(1000);
    let (mut driver, mut control) = engine(2, 64);
    control.insert_named(0, Fake::boxed(Kind::Scale(0.5)), "half").unwrap();
    let expected = interleaved(&run(&mut driver, &x, 64));

    let (mut driver, mut control) = engine(2, 64);
    control.insert_named(0, Fake::boxed(Kind::Scale(0.5)), "half").unwrap();
    let x = interleaved(&x);
    let mut out = vec![9.0f32; x.len()];
    let n = allocations(|| {
        // 1000 frames at once: more than max_block, so the callback must split.
        // SAFETY: buffers of 1000 stereo frames and an exclusive driver.
        let result = unsafe {
            pa_callback(
                x.as_ptr().cast(),
                out.as_mut_ptr().cast(),
                1000,
                std::ptr::null(),
                0x2 | 0x4,
                (&raw mut driver).cast::<c_void>(),
            )
        };
        assert_eq!(result, 0);
    });
    assert_eq!(n, 0, "the callback allocates");
    assert_eq!(out, expected);
    let stats = control.stats();
    assert_eq!((stats.input_xruns, stats.output_xruns), (1, 1));
    // No input: silence goes through.
    // SAFETY: as above, with the null input PortAudio uses for output-only streams.
    unsafe {
        pa_callback(
            std::ptr::null(),
            out.as_mut_ptr().cast(),
            1000,
            std::ptr::null(),
            0,
            (&raw mut driver).cast(),
        );
    }
    assert!(out.iter().all(|&v| v == 0.0));
}

#[test]
fn paced_thread_keeps_the_pace_and_loses_nothing() {
    let frames = 9_630; // 0.2 s and a part of a block
    let x = sine(frames);
    let (driver, mut control) = engine(2, 64);
    control.insert_named(0, Fake::boxed(Kind::Scale(0.5)), "half").unwrap();
    let mut paced = Paced::new(driver, 64, 1.0, false);
    assert_eq!(paced.feed(interleaved(&x).into_iter()), frames);
    paced.end();
    let start = Instant::now();
    paced.start().unwrap();
    while !paced.finished() && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(start.elapsed() >= Duration::from_millis(195), "faster than real time");
    let out = paced.drain(usize::MAX);
    assert_eq!(out, interleaved(&x).iter().map(|v| v * 0.5).collect::<Vec<_>>());
    assert!(paced.stop().is_some());
    assert_eq!(control.stats().sample_time, frames as u64);
}

#[test]
fn paced_thread_waits_for_input_and_room() {
    let (driver, _control) = engine(2, 64);
    let mut paced = Paced::new(driver, 64, 0.01, false); // rings of 480 frames
    paced.start().unwrap();
    let x = interleaved(&sine(4800));
    let (mut fed, mut out) = (0, Vec::new());
    let start = Instant::now();
    while out.len() < x.len() && start.elapsed() < Duration::from_secs(20) {
        fed += paced.feed(x[2 * fed..].iter().copied());
        if fed == 4800 {
            paced.end();
        }
        std::thread::sleep(Duration::from_millis(15)); // slower than the ring is long
        out.extend(paced.drain(usize::MAX));
    }
    assert_eq!(out, x);
    assert!(paced.stalls() > 0);
    assert!(paced.stop().is_some());
}

#[test]
fn null_device_runs_until_stopped() {
    let (driver, mut control) = engine(2, 64);
    let mut paced = Paced::new(driver, 64, 0.1, true);
    paced.start().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(paced.stop().is_some());
    assert!(control.stats().blocks > 10);
}

#[test]
fn a_dropped_paced_stream_stops_though_its_block_is_seconds_long() {
    let (driver, mut control) = engine(2, 64);
    let mut paced = Paced::new(driver, 65_536, 1.0, true); // 1.4 s a block
    paced.start().unwrap();
    let began = Instant::now();
    while control.stats().sample_time == 0 && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let started = control.stats().sample_time;
    assert!(started > 0);
    drop(paced); // joins the thread: it cannot run on after this line
    let at = control.stats().sample_time;
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(control.stats().sample_time, at);
    assert!(at <= started + 65_536, "it slept its block out");
}

#[test]
fn a_device_fades_in_and_out_and_is_untouched_between() {
    let (mut driver, control) = engine(2, 64);
    driver.shut_gate();
    let x = vec![0.5f32; 2 * 2_400];
    let mut play = |frames: usize| {
        let mut out = vec![9.0f32; 2 * frames];
        // SAFETY: buffers of `frames` stereo frames and an exclusive driver.
        unsafe {
            pa_callback(
                x.as_ptr().cast(),
                out.as_mut_ptr().cast(),
                frames as u64,
                std::ptr::null(),
                0,
                (&raw mut driver).cast(),
            )
        };
        out
    };
    let fade = 480; // 10 ms
    let begin = play(2_400);
    assert!(!control.shared().gate.fade_out(Duration::ZERO), "no block was asked for since");
    let end = play(2_400);
    assert!(control.shared().gate.fade_out(Duration::ZERO));
    let left: Vec<f32> = begin.iter().chain(&end).step_by(2).copied().collect();
    assert!(left[0] <= 0.5 / fade as f32);
    assert!(left.windows(2).all(|w| (w[1] - w[0]).abs() <= 1.001 * 0.5 / fade as f32));
    assert!(left[fade..2_400].iter().all(|&v| v == 0.5));
    assert!(left[2_400 + fade..].iter().all(|&v| v == 0.0));
}
