//! One place in the chain: a processor, the fades that make edits silent, and the guards around it.

use cspace_dsp::{Block, Processor, Smoothed, StateError, StateIo};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::delay::Delay;
use crate::faults::Payload;
use crate::fileport::Ear;
use crate::shared::{Shared, SlotShared, count};
use crate::taps::TapWriter;
use crate::{Config, MAX_TAPS_PER_SLOT};

/// A prepared processor with a dry signal delayed to match it.
pub(crate) struct Voice {
    pub processor: Box<dyn Processor>,
    dry: Delay,
    /// What it panicked with; freed where the voice is. It is never called again.
    dead: Option<Payload>,
}

impl Voice {
    /// Thread: control. Allocates. The processor must be prepared.
    pub fn new(processor: Box<dyn Processor>, channels: usize) -> Self {
        let dry = Delay::new(channels, processor.latency_samples());
        Self { processor, dry, dead: None }
    }

    /// Runs the processor; returns false, with silence in the block, if it gave NaN or Inf or
    /// panicked. Thread: audio.
    fn process(&mut self, block: &mut Block<'_>, slot: &SlotShared, shared: &Shared) -> bool {
        if self.dead.is_some() {
            return true;
        }
        if !self.call(slot, shared, |p| p.process(block)) {
            block.clear();
            return false;
        }
        if (0..block.channels()).all(|c| all_finite(block.channel(c))) {
            return true;
        }
        block.clear();
        self.call(slot, shared, |p| p.reset());
        count(&slot.faults);
        false
    }

    /// Calls the processor unless it is dead; false if it is or panics now. Its state may then be half
    /// changed, so it is never called again; the dry signal goes on. Thread: audio.
    fn call(&mut self, slot: &SlotShared, shared: &Shared, f: impl FnOnce(&mut dyn Processor)) -> bool {
        if self.dead.is_some() {
            return false;
        }
        let processor = &mut *self.processor;
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(processor))) else { return true };
        count(&slot.panics);
        count(&shared.panics);
        slot.panic.set(&*payload);
        self.dead = Some(payload);
        false
    }

    /// Its sound as bytes; a processor that panicked is never called again. Thread: control.
    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        if self.dead.is_none() {
            self.processor.state(io)?;
        }
        self.dry.state(io)
    }
}

/// The sound in a slot at one moment, see `Slot::keep`.
pub(crate) struct Kept {
    ramps: [Smoothed; 4],
    waits: [usize; 2],
    voices: Vec<Vec<u8>>,
}

/// No NaN, no Inf: no sample has all exponent bits set. Branch-free, so it vectorises.
pub fn all_finite(x: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    x.iter().fold(0u32, |bad, v| bad | u32::from(v.to_bits() & EXPONENT == EXPONENT)) == 0
}

/// What a slot is on its way to.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fate {
    Stay,
    Leave,
    Move { before: Option<u32> },
}

/// A slot of the chain.
///
/// Three ramps of 10 ms make its edits silent: `presence` (raw input ↔ slot) for insert, remove and
/// move, `wet` (delayed dry ↔ processed) for bypass, `cross` (old ↔ new processor) for replace; a
/// fourth, `heal`, opens the output again after a fault. `presence` and `cross` do not move before the
/// processor that comes in has filled its latency: until then it has nothing to be heard.
pub(crate) struct Slot {
    pub id: u32,
    pub fate: Fate,
    voice: Box<Voice>,
    incoming: Option<Box<Voice>>,
    queued: Option<Box<Voice>>,
    presence: Smoothed,
    wet: Smoothed,
    cross: Smoothed,
    heal: Smoothed,
    bypassed: bool,
    /// The processor panicked, and the dry signal has taken its place.
    gave_way: bool,
    fade: usize,
    /// Samples until `presence` may rise.
    before_presence: usize,
    /// Samples until `cross` may fall.
    before_cross: usize,
    raw: Vec<f32>,
    dry: Vec<f32>,
    other: Vec<f32>,
    #[expect(clippy::vec_box, reason = "unboxing would free the box on the audio thread")]
    pub taps: Vec<Box<TapWriter>>,
    /// Gets a copy of the input.
    pub ear: Option<Box<Ear>>,
    status: Arc<SlotShared>,
}

/// Copies what is in view of `block` to `to`, one channel every `stride` samples.
fn copy(block: &Block<'_>, to: &mut [f32], stride: usize) {
    for c in 0..block.channels() {
        to[c * stride..][..block.frames()].copy_from_slice(block.channel(c));
    }
}

/// Weighs the block with the ramp and `other` with the rest; every channel sees the same ramp.
fn blend(ramp: &mut Smoothed, block: &mut Block<'_>, other: &[f32], stride: usize) {
    let mut end = ramp.clone();
    for (channel, from) in block.channels_mut().zip(other.chunks_exact(stride)) {
        end = ramp.clone();
        for (x, &y) in channel.iter_mut().zip(from) {
            let g = end.tick();
            *x = if g == 1.0 { *x } else { *x * g + y * (1.0 - g) };
        }
    }
    *ramp = end;
}

impl Slot {
    /// Thread: control. Allocates.
    pub fn new(id: u32, voice: Voice, config: &Config, status: Arc<SlotShared>) -> Self {
        let scratch = || vec![0.0; config.channels * config.max_block];
        Self {
            id,
            fate: Fate::Stay,
            voice: Box::new(voice),
            incoming: None,
            queued: None,
            presence: Smoothed::new(0.0),
            wet: Smoothed::new(1.0),
            cross: Smoothed::new(0.0),
            heal: Smoothed::new(1.0),
            bypassed: false,
            gave_way: false,
            fade: config.fade_samples(),
            before_presence: 0,
            before_cross: 0,
            raw: scratch(),
            dry: scratch(),
            other: scratch(),
            taps: Vec::with_capacity(MAX_TAPS_PER_SLOT),
            ear: None,
            status,
        }
    }

    /// Only what plays in it. Thread: control.
    pub fn into_voice(self: Box<Self>) -> Box<Voice> {
        self.voice
    }

    /// Starts to be heard, once its latency has passed; at once if nothing was played yet.
    /// Thread: audio.
    pub fn appear(&mut self, at_once: bool) {
        self.before_presence = if at_once { 0 } else { self.voice.processor.latency_samples() };
        if self.before_presence == 0 {
            self.presence.set(1.0, if at_once { 0 } else { self.fade });
        }
    }

    /// Starts to vanish. Thread: audio.
    pub fn vanish(&mut self, fate: Fate, at_once: bool) {
        self.fate = fate;
        self.before_presence = 0;
        self.presence.set(0.0, if at_once { 0 } else { self.fade });
    }

    /// Whether the slot is inaudible and at rest.
    pub fn is_gone(&self) -> bool {
        self.presence.current() == 0.0 && !self.presence.is_moving()
    }

    /// Thread: audio.
    pub fn bypass(&mut self, on: bool, at_once: bool) {
        self.bypassed = on;
        if self.voice.dead.is_some() {
            return; // the dry signal it is
        }
        self.wet.set(if on { 0.0 } else { 1.0 }, if at_once { 0 } else { self.fade });
    }

    /// Newest wins. Thread: audio.
    pub fn set_param(&mut self, param: usize, value: f32, shared: &Shared) {
        self.each(|voice, status| _ = voice.call(status, shared, |p| p.set_param(param, value)));
    }

    fn each(&mut self, mut f: impl FnMut(&mut Voice, &SlotShared)) {
        for voice in
            [Some(&mut self.voice), self.incoming.as_mut(), self.queued.as_mut()].into_iter().flatten()
        {
            f(voice, &self.status);
        }
    }

    /// Thread: audio.
    pub fn set_array(&mut self, array: usize, data: &[f32], shared: &Shared) {
        self.each(|voice, status| _ = voice.call(status, shared, |p| _ = p.set_array(array, data)));
    }

    /// Brings in a new processor; returns one that will not be heard any more, if any.
    /// Thread: audio.
    pub fn replace(&mut self, voice: Box<Voice>, at_once: bool) -> Option<Box<Voice>> {
        if at_once {
            return Some(std::mem::replace(&mut self.voice, voice));
        }
        if self.incoming.is_some() {
            return self.queued.replace(voice);
        }
        self.before_cross = voice.processor.latency_samples();
        self.incoming = Some(voice);
        self.cross.set(1.0, 0);
        if self.before_cross == 0 {
            self.cross.set(0.0, self.fade);
        }
        None
    }

    /// Forgets all sound. Thread: audio.
    pub fn reset(&mut self, shared: &Shared) {
        self.each(|voice, status| {
            voice.call(status, shared, |p| p.reset());
            voice.dry.reset();
        });
    }

    /// Keeps the sound as it is now for `put_back`; until then no cross-fade ends. An error if a
    /// processor cannot say its state. Thread: control.
    pub fn keep(&mut self) -> Result<Kept, StateError> {
        let mut voices = Vec::new();
        for voice in [Some(&mut self.voice), self.incoming.as_mut()].into_iter().flatten() {
            let mut bytes = Vec::new();
            voice.state(&mut StateIo::Save(&mut bytes))?;
            voices.push(bytes);
        }
        let ramps = [&self.presence, &self.wet, &self.cross, &self.heal].map(Clone::clone);
        let waits = [self.before_presence, self.before_cross];
        if self.incoming.is_some() {
            self.before_cross = usize::MAX;
        }
        Ok(Kept { ramps, waits, voices })
    }

    /// Makes the sound what it was at `keep`. Thread: control.
    pub fn put_back(&mut self, kept: Kept) {
        let voices = [Some(&mut self.voice), self.incoming.as_mut()].into_iter().flatten();
        for (voice, bytes) in voices.zip(kept.voices) {
            if voice.dead.is_none() && voice.state(&mut StateIo::Load(&bytes)).is_err() {
                voice.processor.reset(); // half a state is worse than none
            }
        }
        [self.presence, self.wet, self.cross, self.heal] = kept.ramps;
        [self.before_presence, self.before_cross] = kept.waits;
    }

    /// Processes `block` unheard by taps and ears, between `keep` and `put_back`. Thread: control.
    pub fn try_out(&mut self, block: &mut Block<'_>, shared: &Shared) {
        self.process_between_taps(block, shared);
    }

    /// Processes `block`, which starts at sample `now`; returns a processor whose cross-fade ended.
    /// Thread: audio. Never allocates, locks or logs.
    pub fn process(&mut self, block: &mut Block<'_>, now: u64, shared: &Shared) -> Option<Box<Voice>> {
        if let Some(ear) = &mut self.ear {
            ear.hear(block);
        }
        if self.taps.is_empty() {
            return self.process_between_taps(block, shared);
        }
        let mut done = None;
        let (mut from, frames) = (0, block.frames());
        while from < frames {
            let at = now + from as u64;
            let due = self.taps.iter().map(|t| t.until(at)).min().unwrap_or(u64::MAX);
            let to = frames.min(from.saturating_add(usize::try_from(due.max(1)).unwrap_or(usize::MAX)));
            done = self.process_between_taps(&mut block.slice(from, to), shared).or(done);
            from = to;
            let at = now + to as u64;
            for tap in &mut self.taps {
                if !self.voice.call(&self.status, shared, |p| tap.poll(Some(p), at)) {
                    tap.poll(None, at);
                }
            }
        }
        done
    }

    /// Cuts where a ramp that waited for a latency begins. Thread: audio.
    fn process_between_taps(&mut self, block: &mut Block<'_>, shared: &Shared) -> Option<Box<Voice>> {
        let (mut done, mut from, frames) = (None, 0, block.frames());
        while from < frames {
            let waits = [self.before_presence, self.before_cross];
            let n = waits.into_iter().filter(|&w| w > 0).fold(frames - from, usize::min);
            done = self.process_part(&mut block.slice(from, from + n), shared).or(done);
            from += n;
            if self.before_presence > 0 {
                self.before_presence -= n;
                if self.before_presence == 0 {
                    self.presence.set(1.0, self.fade);
                }
            }
            // A cross-fade that was queued during this part has not waited yet.
            if waits[1] > 0 {
                self.before_cross -= n;
                if self.before_cross == 0 {
                    self.cross.set(0.0, self.fade);
                }
            }
        }
        done
    }

    fn process_part(&mut self, block: &mut Block<'_>, shared: &Shared) -> Option<Box<Voice>> {
        let frames = block.frames();
        let stride = self.raw.len() / block.channels();
        if self.voice.dead.is_some() && !self.gave_way {
            self.give_way(); // it panicked outside `process`
        }
        let plain = self.incoming.is_none()
            && [&self.presence, &self.wet, &self.heal].iter().all(|r| r.current() == 1.0 && !r.is_moving());
        if !plain {
            copy(block, &mut self.raw, stride);
        }
        if !plain || !self.voice.dry.is_empty() {
            copy(block, &mut self.dry, stride);
            self.voice.dry.process(&mut self.dry, stride, frames);
        }
        let mut sound = self.voice.process(block, &self.status, shared);
        if plain {
            if !sound {
                self.mute(block);
            }
            return None;
        }
        let mut done = None;
        if let Some(incoming) = &mut self.incoming {
            // `other` becomes the new processor's output, the block the blend towards it.
            self.other.copy_from_slice(&self.raw);
            sound &= incoming.process(&mut Block::new(&mut self.other, stride, frames), &self.status, shared);
            // `cross` falls from 1 (old) to 0 (new).
            blend(&mut self.cross, block, &self.other, stride);
            // The new dry line fills too, so that a bypass is right from the first sample; the old
            // one stays in use until the fade ends.
            self.other.copy_from_slice(&self.raw);
            incoming.dry.process(&mut self.other, stride, frames);
            if self.before_cross == 0 && !self.cross.is_moving() {
                done = self.incoming.take().map(|v| std::mem::replace(&mut self.voice, v));
                if done.as_ref().is_some_and(|old| old.dead.is_some()) && self.voice.dead.is_none() {
                    // The one before was out of use; this one is heard, once it is wanted.
                    self.gave_way = false;
                    self.status.out_of_use.store(false, Relaxed);
                    self.bypass(self.bypassed, false);
                }
                if let Some(next) = self.queued.take() {
                    self.replace(next, false);
                }
            }
        }
        if !sound {
            self.mute(block);
        } else if self.heal.current() < 1.0 || self.heal.is_moving() {
            self.heal.scale(block);
        }
        blend(&mut self.wet, block, &self.dry, stride);
        blend(&mut self.presence, block, &self.raw, stride);
        done
    }

    /// After a fault: silence now, back within 10 ms; a processor that panicked gives way to the
    /// dry signal for good. Thread: audio.
    fn mute(&mut self, block: &mut Block<'_>) {
        block.clear();
        self.fade_back();
        if self.voice.dead.is_some() {
            self.give_way();
        }
    }

    fn fade_back(&mut self) {
        self.heal.set(0.0, 0);
        self.heal.set(1.0, self.fade);
    }

    fn give_way(&mut self) {
        self.gave_way = true;
        self.fade_back();
        self.wet.set(0.0, 0);
        self.status.out_of_use.store(true, Relaxed);
    }
}
