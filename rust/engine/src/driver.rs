//! Who calls the audio half: anyone with a buffer, or PortAudio.

use cspace_dsp::Block;
use std::ffi::{c_int, c_ulong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::gate::Gate;
use crate::shared::count;
use crate::{AudioEngine, Controller};

/// The audio half with the buffer it works in. This is the device-free way to run the real engine:
/// tests, benchmarks and the offline renderer use it, and every device below goes through it.
pub struct Driver {
    engine: AudioEngine,
    planar: Vec<f32>,
    gate: Gate,
}

impl Driver {
    pub(crate) fn new(engine: AudioEngine) -> Self {
        let config = engine.config();
        let planar = vec![0.0; config.channels * config.max_block];
        let gate = Gate::new(config.fade_samples());
        Self { engine, planar, gate }
    }

    /// A device takes over: its sound will fade in. Thread: control, before the device starts.
    pub fn shut_gate(&mut self) {
        self.gate.shut();
        self.engine.shared().gate.open();
    }

    /// The engine inside.
    pub fn engine(&mut self) -> &mut AudioEngine {
        &mut self.engine
    }

    /// Processes `frames` planar samples in place, in blocks of at most `max_block`: channel `c` is
    /// `audio[c * frames..][..frames]`. Thread: audio. Never allocates, locks or logs.
    pub fn process(&mut self, audio: &mut [f32], frames: usize) {
        let max = self.engine.config().max_block;
        let mut all = Block::new(audio, frames.max(1), frames);
        for from in (0..frames).step_by(max) {
            self.engine.process_block(&mut all.slice(from, frames.min(from + max)));
        }
    }

    /// Processes interleaved audio, as devices have it: reads `frames` from `input` (silence if
    /// there is none) and fills `output`. Thread: audio. Never allocates, locks or logs.
    pub fn process_interleaved(&mut self, input: Option<&[f32]>, output: &mut [f32]) {
        let frames = output.len() / self.engine.config().channels;
        self.interleaved(input, Some(output), frames);
    }

    fn interleaved(&mut self, input: Option<&[f32]>, mut output: Option<&mut [f32]>, frames: usize) {
        let channels = self.engine.config().channels;
        let max = self.engine.config().max_block;
        for from in (0..frames).step_by(max) {
            let n = max.min(frames - from);
            let span = from * channels..(from + n) * channels;
            match input {
                Some(x) => {
                    for (i, frame) in x[span.clone()].chunks_exact(channels).enumerate() {
                        for (c, &v) in frame.iter().enumerate() {
                            self.planar[c * max + i] = v;
                        }
                    }
                }
                None => self.planar.fill(0.0),
            }
            self.engine.process_block(&mut Block::new(&mut self.planar, max, n));
            let Some(output) = &mut output else { continue };
            for (i, frame) in output[span].chunks_exact_mut(channels).enumerate() {
                for (c, v) in frame.iter_mut().enumerate() {
                    *v = self.planar[c * max + i];
                }
            }
        }
    }
}

// Status flags and result of a PortAudio callback (portaudio.h).
const PA_INPUT_UNDERFLOW: c_ulong = 0x1;
const PA_INPUT_OVERFLOW: c_ulong = 0x2;
const PA_OUTPUT_UNDERFLOW: c_ulong = 0x4;
const PA_OUTPUT_OVERFLOW: c_ulong = 0x8;
const PA_CONTINUE: c_int = 0;

/// The `PaStreamCallback` of an engine; `userdata` is a `*mut Driver`. The stream must have as many
/// float32 interleaved channels as the engine, in, out, or both.
/// Thread: audio. Never allocates, locks, logs, calls Python or unwinds.
///
/// # Safety
/// PortAudio's promises for its callback (buffers of `frames` interleaved float32 frames, or null),
/// and a `userdata` that points to a `Driver` nobody else uses while the stream is open.
pub unsafe extern "C" fn pa_callback(
    input: *const c_void,
    output: *mut c_void,
    frames: c_ulong,
    _time: *const c_void,
    flags: c_ulong,
    userdata: *mut c_void,
) -> c_int {
    // SAFETY: the caller promises an exclusive, live Driver.
    let driver = unsafe { &mut *userdata.cast::<Driver>() };
    let samples = frames as usize * driver.engine.config().channels;
    let input = (!input.is_null()).then(|| {
        // SAFETY: the caller promises `frames` interleaved frames of float32.
        unsafe { std::slice::from_raw_parts(input.cast::<f32>(), samples) }
    });
    let shared = driver.engine.shared();
    if flags & (PA_INPUT_UNDERFLOW | PA_INPUT_OVERFLOW) != 0 {
        count(&shared.input_xruns);
    }
    if flags & (PA_OUTPUT_UNDERFLOW | PA_OUTPUT_OVERFLOW) != 0 {
        count(&shared.output_xruns);
    }
    let mut output = (!output.is_null()).then(|| {
        // SAFETY: as for the input; PortAudio's output buffer overlaps nothing.
        unsafe { std::slice::from_raw_parts_mut(output.cast::<f32>(), samples) }
    });
    // Slots guard their processors; this catches a fault of the engine itself, since unwinding into
    // C is undefined.
    let run = || driver.interleaved(input, output.as_deref_mut(), frames as usize);
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        std::mem::forget(payload); // nothing is freed here
        if let Some(output) = &mut output {
            output.fill(0.0);
        }
        driver.engine.shared().panics.fetch_add(1, Relaxed);
    }
    if let Some(output) = output {
        let channels = driver.engine.config().channels;
        driver.gate.pass(output, channels, &driver.engine.shared().gate);
    }
    PA_CONTINUE
}

/// Drains an engine's control half every 10 ms on a thread of its own, so that statistics and
/// returned objects do not depend on Python finding time. Ends when the controller is dropped.
pub fn housekeep(controller: Weak<Mutex<Controller>>) -> std::io::Result<()> {
    std::thread::Builder::new().name("cspace-housekeep".into()).spawn(move || {
        while let Some(controller) = controller.upgrade() {
            controller.lock().unwrap_or_else(PoisonError::into_inner).drain();
            drop(controller);
            std::thread::sleep(Duration::from_millis(10));
        }
    })?;
    Ok(())
}
