//! The audio half of an engine: one call per block.

use cspace_dsp::{Block, Smoothed, StateError};
use rtrb::{Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::command::{Command, ParamEvent, Returned};
use crate::denormal::FlushDenormals;
use crate::shared::{Shared, count};
use crate::slot::{Fate, Slot};
use crate::stats::BlockRecord;
use crate::{Config, MAX_SLOTS, MAX_TAPS_PER_SLOT, PENDING_CAPACITY};

/// Free places the return ring must have before an edit is taken: one block can send home every
/// slot and its voices, besides what the edit itself replaces.
const RETURN_RESERVE: usize = 3 * MAX_SLOTS;

/// Time constant of the RMS meter.
const RMS_SECONDS: f32 = 0.3;

/// Chain, pending events, guards and statistics; processes blocks and never waits.
pub struct AudioEngine {
    config: Config,
    #[expect(clippy::vec_box, reason = "unboxing would free the box on the audio thread")]
    chain: Vec<Box<Slot>>,
    pending: Vec<ParamEvent>, // latest first, so that the next one is popped from the end
    commands: Consumer<Command>,
    returns: Producer<Returned>,
    records: Producer<BlockRecord>,
    shared: Arc<Shared>,
    now: u64,
    fade: usize,
    panic: Smoothed,
    panicking: bool,
}

impl AudioEngine {
    pub(crate) fn new(
        config: Config,
        commands: Consumer<Command>,
        returns: Producer<Returned>,
        records: Producer<BlockRecord>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            config,
            chain: Vec::with_capacity(MAX_SLOTS),
            pending: Vec::with_capacity(PENDING_CAPACITY),
            commands,
            returns,
            records,
            shared,
            now: 0,
            fade: config.fade_samples(),
            panic: Smoothed::new(1.0),
            panicking: false,
        }
    }

    /// What the engine was made for.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The counters both sides see.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes all waiting commands without processing audio. Thread: whoever owns the audio half.
    pub fn service(&mut self) {
        while self.returns.slots() > RETURN_RESERVE {
            let Ok(command) = self.commands.pop() else { break };
            self.apply(command);
        }
    }

    /// Sends an object home. The reserve kept by `service` makes a full ring impossible; should it
    /// happen all the same, leaking is the one thing left that neither frees nor waits.
    fn send_home(&mut self, object: Returned) {
        if let Err(rtrb::PushError::Full(object)) = self.returns.push(object) {
            std::mem::forget(object);
        }
    }

    fn slot(&mut self, id: u32) -> Option<&mut Slot> {
        self.chain.iter_mut().find(|s| s.id == id).map(|s| &mut **s)
    }

    fn slot_and_shared(&mut self, id: u32) -> Option<(&mut Slot, &Shared)> {
        let slot = self.chain.iter_mut().find(|s| s.id == id)?;
        Some((&mut **slot, &self.shared))
    }

    fn set_param(&mut self, event: ParamEvent) {
        if let Some((slot, shared)) = self.slot_and_shared(event.slot) {
            slot.set_param(usize::from(event.param), event.value, shared);
        }
    }

    fn place(&self, before: Option<u32>) -> usize {
        before.and_then(|id| self.chain.iter().position(|s| s.id == id)).unwrap_or(self.chain.len())
    }

    fn apply(&mut self, command: Command) {
        // Before the first sample there is nothing to fade from.
        let at_once = self.now == 0;
        match command {
            Command::Set(event) => self.schedule(event),
            Command::SetArray { slot, array, data } => {
                if let Some((s, shared)) = self.slot_and_shared(slot) {
                    s.set_array(usize::from(array), &data, shared);
                }
                self.send_home(Returned::Array(data));
            }
            Command::Insert { mut slot, before } => {
                if self.chain.len() == MAX_SLOTS {
                    self.send_home(Returned::Slot(slot));
                    return;
                }
                slot.appear(at_once);
                let place = self.place(before);
                self.chain.insert(place, slot);
            }
            Command::Remove { slot } => {
                if let Some(s) = self.slot(slot) {
                    s.vanish(Fate::Leave, at_once);
                }
            }
            Command::Move { slot, before } => {
                if let Some(s) = self.slot(slot)
                    && s.fate != Fate::Leave
                {
                    s.vanish(Fate::Move { before }, at_once);
                }
            }
            Command::Replace { slot, voice } => {
                let unheard = match self.slot(slot) {
                    Some(s) => s.replace(voice, at_once),
                    None => Some(voice),
                };
                if let Some(voice) = unheard {
                    self.send_home(Returned::Voice(voice));
                }
            }
            Command::Bypass { slot, on } => {
                if let Some(s) = self.slot(slot) {
                    s.bypass(on, at_once);
                }
            }
            Command::Subscribe(mut tap) => {
                let now = self.now;
                let slot = tap.slot;
                match self.slot(slot) {
                    Some(s) if s.taps.len() < MAX_TAPS_PER_SLOT => {
                        tap.start(now);
                        s.taps.push(tap);
                    }
                    _ => self.send_home(Returned::Tap(tap)),
                }
            }
            Command::Listen { slot, ear } => {
                let done = match self.slot(slot) {
                    Some(s) => s.ear.replace(ear),
                    None => Some(ear),
                };
                if let Some(ear) = done {
                    self.send_home(Returned::Ear(ear));
                }
            }
            Command::Panic => {
                self.pending.clear(); // what was timed for later would bring back what one fled from
                self.panicking = true;
                self.panic.set(0.0, self.fade);
            }
        }
        if at_once {
            self.settle();
        }
    }

    /// Timed events wait in order; the rest take effect now.
    fn schedule(&mut self, event: ParamEvent) {
        if event.time <= self.now {
            self.set_param(event);
        } else if self.pending.len() == PENDING_CAPACITY {
            count(&self.shared.dropped_events);
        } else {
            // Behind all later events, in front of equal ones that came earlier: popped after them.
            let place = self.pending.partition_point(|e| e.time > event.time);
            self.pending.insert(place, event);
        }
    }

    /// Carries out removals and moves whose fade has ended, and drops abandoned taps.
    fn settle(&mut self) {
        let mut i = 0;
        while i < self.chain.len() {
            let slot = &mut self.chain[i];
            while let Some(t) = slot.taps.iter().position(|t| t.is_abandoned()) {
                let tap = slot.taps.swap_remove(t);
                if let Err(rtrb::PushError::Full(tap)) = self.returns.push(Returned::Tap(tap)) {
                    std::mem::forget(tap);
                }
            }
            if let Some(ear) = slot.ear.take_if(|e| e.is_abandoned())
                && let Err(rtrb::PushError::Full(ear)) = self.returns.push(Returned::Ear(ear))
            {
                std::mem::forget(ear);
            }
            if slot.fate == Fate::Stay || !slot.is_gone() {
                i += 1;
                continue;
            }
            let mut slot = self.chain.remove(i);
            match slot.fate {
                Fate::Move { before } => {
                    slot.fate = Fate::Stay;
                    slot.appear(self.now == 0);
                    let place = self.place(before);
                    self.chain.insert(place, slot);
                }
                _ => {
                    // Whoever was on the way to it goes in front of what followed it.
                    for j in 0..self.chain.len() {
                        if self.chain[j].fate == (Fate::Move { before: Some(slot.id) }) {
                            let own = self.chain[j].id;
                            let next = self.chain[i..].iter().map(|s| s.id).find(|&id| id != own);
                            self.chain[j].fate = Fate::Move { before: next };
                        }
                    }
                    self.send_home(Returned::Slot(slot));
                }
            }
        }
    }

    /// Processes one block of at most `max_block` frames in place.
    /// Thread: audio. Never allocates, locks or logs.
    pub fn process_block(&mut self, block: &mut Block<'_>) {
        let started = Instant::now();
        let _flush = FlushDenormals::new();
        let frames = block.frames();
        self.service();
        self.shared.check_input(block);

        let mut slot_ns = [(0u32, 0u32); MAX_SLOTS];
        let mut from = 0;
        while from < frames {
            let now = self.now + from as u64;
            while let Some(event) = self.pending.pop_if(|e| e.time <= now) {
                self.set_param(event);
            }
            let until = self.pending.last().map_or(u64::MAX, |e| e.time - now);
            let to = frames.min(from.saturating_add(usize::try_from(until).unwrap_or(usize::MAX)));
            self.run_chain(&mut block.slice(from, to), now, &mut slot_ns);
            from = to;
        }

        self.now += frames as u64;
        let slots = self.chain.len();
        self.settle();
        self.fade_panic(block);
        self.measure_output(block);
        self.shared.sample_time.store(self.now, Relaxed);
        count(&self.shared.blocks);
        let total_ns = nanoseconds(started);
        let record = BlockRecord { frames: frames as u32, total_ns, slots, slot_ns };
        if self.records.push(record).is_err() {
            count(&self.shared.dropped_records);
        }
    }

    /// Fills `audio` (planar, `frames` of each channel) with what comes out if silence follows now,
    /// and leaves everything as it is: the end of a sound that has latency. Edits under way and
    /// timed events stand still meanwhile. An error, with nothing changed, if a processor cannot
    /// say its state. Thread: control, while no device has the audio half. Allocates.
    pub fn ahead(&mut self, audio: &mut [f32], frames: usize) -> Result<(), StateError> {
        let mut kept = Vec::with_capacity(self.chain.len());
        let mut failed = None;
        for slot in &mut self.chain {
            match slot.keep() {
                Ok(k) => kept.push(k),
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        if failed.is_none() {
            let _flush = FlushDenormals::new();
            audio.fill(0.0);
            let mut all = Block::new(audio, frames.max(1), frames);
            for from in (0..frames).step_by(self.config.max_block) {
                let mut block = all.slice(from, frames.min(from + self.config.max_block));
                self.chain.iter_mut().for_each(|slot| slot.try_out(&mut block, &self.shared));
            }
        }
        // Slots behind one that failed were never kept, so the two lists part there.
        self.chain.iter_mut().zip(kept).for_each(|(slot, k)| slot.put_back(k));
        failed.map_or(Ok(()), Err)
    }

    fn run_chain(&mut self, block: &mut Block<'_>, now: u64, slot_ns: &mut [(u32, u32); MAX_SLOTS]) {
        let mut before = Instant::now();
        for (slot, time) in self.chain.iter_mut().zip(slot_ns) {
            if let Some(voice) = slot.process(block, now, &self.shared)
                && let Err(rtrb::PushError::Full(voice)) = self.returns.push(Returned::Voice(voice))
            {
                std::mem::forget(voice);
            }
            let after = Instant::now();
            let ns = u32::try_from((after - before).as_nanos()).unwrap_or(u32::MAX);
            *time = (slot.id, time.1.saturating_add(ns));
            before = after;
        }
    }

    fn measure_output(&self, block: &Block<'_>) {
        let frames = block.frames().max(1) as f32;
        let keep = (-frames / (RMS_SECONDS * self.config.sample_rate as f32)).exp();
        for (c, meter) in self.shared.meters.iter().enumerate().take(block.channels()) {
            let x = block.channel(c);
            let peak = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let square = x.iter().fold(0.0, |s, v| s + v * v) / frames;
            meter.output(peak, square, keep);
        }
    }

    fn fade_panic(&mut self, block: &mut Block<'_>) {
        if !self.panicking && self.panic.current() == 1.0 && !self.panic.is_moving() {
            return;
        }
        self.panic.scale(block);
        if self.panicking && !self.panic.is_moving() {
            self.panicking = false;
            self.chain.iter_mut().for_each(|s| s.reset(&self.shared));
            self.panic.set(1.0, self.fade);
        }
    }
}

fn nanoseconds(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_nanos()).unwrap_or(u32::MAX)
}
