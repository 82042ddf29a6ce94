//! The control half of an engine: edits, values, taps, statistics. Thread: control throughout.

use cspace_dsp::{PrepareError, Processor};
use rtrb::{Consumer, Producer};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

use crate::command::{Command, ParamEvent, Returned};
use crate::edit::{EditError, SlotInfo};
use crate::hosted::{WorkerCounts, stuck_threads};
use crate::prepared::Prepared;
use crate::reaper::dispose;
use crate::remote::{Remote, WorkerEnd};
use crate::shared::{Shared, SlotShared, count};
use crate::stats::{BlockRecord, SlotStats, Snapshot, Statistics, percentiles};
use crate::taps::{TapReader, tap};
use crate::{Config, MAX_SLOTS, MAX_TAPS_PER_SLOT};

/// Seconds of tap frames that can wait unread.
const TAP_SECONDS: f64 = 4.0;
/// Most memory one subscription may take, in values.
const TAP_MAX_VALUES: usize = 1 << 24;

/// The control half.
pub struct Controller {
    config: Config,
    commands: Producer<Command>,
    returns: Consumer<Returned>,
    records: Consumer<BlockRecord>,
    shared: Arc<Shared>,
    statistics: Statistics,
    slots: Vec<SlotInfo>,
    next_id: u32,
    /// Panics of workers whose slots are gone.
    past_panics: u64,
}

impl Controller {
    pub(crate) fn new(
        config: Config,
        commands: Producer<Command>,
        returns: Consumer<Returned>,
        records: Consumer<BlockRecord>,
        shared: Arc<Shared>,
    ) -> Self {
        let statistics = Statistics::new(config.sample_rate);
        Self {
            config,
            commands,
            returns,
            records,
            shared,
            statistics,
            slots: Vec::new(),
            next_id: 1,
            past_panics: 0,
        }
    }

    /// What the engine was made for.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The counters both sides see.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The chain, in order.
    pub fn slots(&self) -> &[SlotInfo] {
        &self.slots
    }

    /// The slot with this id.
    ///
    /// # Errors
    /// [`EditError::NoSlot`].
    pub fn slot(&self, id: u32) -> Result<&SlotInfo, EditError> {
        self.slots.iter().find(|s| s.id == id).ok_or(EditError::NoSlot(id))
    }

    pub(crate) fn send(&mut self, command: Command) -> Result<(), EditError> {
        self.commands.push(command).map_err(|rtrb::PushError::Full(refused)| {
            dispose(refused);
            EditError::QueueFull
        })
    }

    /// Prepares `processor` and inserts it at `index` of the chain (or at the end); returns its id.
    ///
    /// # Errors
    /// See [`EditError`]; nothing is changed.
    pub fn insert(&mut self, index: usize, mut processor: Box<dyn Processor>) -> Result<u32, EditError> {
        processor.prepare(&self.config.prepare()).map_err(EditError::Prepare)?;
        let name = processor.info().name;
        self.insert_named(index, processor, name)
    }

    /// Inserts a processor that is ready to run and has a name of its own.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert_named(
        &mut self,
        index: usize,
        processor: Box<dyn Processor>,
        name: &str,
    ) -> Result<u32, EditError> {
        self.insert_ready(index, Prepared::new(&self.config, processor, name))
    }

    /// Inserts a slot whose sound is made by another thread; see [`Remote`].
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert_worker(
        &mut self,
        index: usize,
        hop: usize,
        latency_samples: usize,
        tail_samples: usize,
        name: &str,
    ) -> Result<(u32, WorkerEnd), EditError> {
        let status = SlotShared::default();
        let late = status.late_blocks.clone();
        let (remote, end) = Remote::new(&self.config, hop, latency_samples, tail_samples, late)
            .map_err(|why| EditError::Prepare(PrepareError(why)))?;
        let prepared = Prepared::with_status(&self.config, Box::new(remote), name, Arc::new(status));
        Ok((self.insert_ready(index, prepared)?, end))
    }

    /// Inserts a slot that is ready; takes no time.
    ///
    /// # Errors
    /// See [`EditError`]; the slot is freed elsewhere.
    pub fn insert_ready(&mut self, index: usize, prepared: Prepared) -> Result<u32, EditError> {
        let Prepared { mut slot, mut known } = prepared;
        if self.slots.len() >= MAX_SLOTS {
            dispose(slot);
            return Err(EditError::ChainFull);
        }
        let id = self.next_id;
        let index = index.min(self.slots.len());
        let before = self.slots.get(index).map(|s| s.id);
        (slot.id, known.id) = (id, id);
        self.send(Command::Insert { slot, before })?;
        self.slots.insert(index, known);
        self.next_id += 1;
        Ok(id)
    }

    /// Cross-fades slot `id` to another processor.
    ///
    /// # Errors
    /// See [`EditError`]; the old one plays on.
    pub fn replace(&mut self, id: u32, mut processor: Box<dyn Processor>) -> Result<(), EditError> {
        self.slot(id)?;
        processor.prepare(&self.config.prepare()).map_err(EditError::Prepare)?;
        self.replace_prepared(id, processor)
    }

    /// As [`Self::replace`], with a processor that is ready to run.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn replace_prepared(&mut self, id: u32, processor: Box<dyn Processor>) -> Result<(), EditError> {
        self.replace_ready(id, Prepared::new(&self.config, processor, ""))
    }

    /// As [`Self::replace`], with a slot that is ready; takes no time. It keeps its name.
    ///
    /// # Errors
    /// See [`EditError`]; the new one is freed elsewhere.
    pub fn replace_ready(&mut self, id: u32, prepared: Prepared) -> Result<(), EditError> {
        let mut known = match self.slot(id) {
            Ok(slot) => slot.clone(),
            Err(e) => {
                dispose(prepared.slot);
                return Err(e);
            }
        };
        known.worker_counts(); // lets go of models that are gone
        known.become_like(prepared.known);
        let voice = prepared.slot.into_voice();
        self.send(Command::Replace { slot: id, voice })?;
        if let Some(s) = self.slots.iter_mut().find(|s| s.id == id) {
            *s = known;
        }
        Ok(())
    }

    /// Fades slot `id` out and removes it.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn remove(&mut self, id: u32) -> Result<(), EditError> {
        let at = self.slots.iter().position(|s| s.id == id).ok_or(EditError::NoSlot(id))?;
        self.send(Command::Remove { slot: id })?;
        self.past_panics += self.slots.remove(at).worker_counts().panics;
        self.statistics.forget(id);
        Ok(())
    }

    /// Moves slot `id` to `index` of the chain as it is without it: fades out, moves, fades in.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn move_to(&mut self, id: u32, index: usize) -> Result<(), EditError> {
        let from = self.slots.iter().position(|s| s.id == id).ok_or(EditError::NoSlot(id))?;
        let others: Vec<u32> = self.slots.iter().map(|s| s.id).filter(|&s| s != id).collect();
        self.send(Command::Move { slot: id, before: others.get(index).copied() })?;
        let slot = self.slots.remove(from);
        self.slots.insert(index.min(self.slots.len()), slot);
        Ok(())
    }

    /// Lets slot `id` pass its input, delayed as before.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn bypass(&mut self, id: u32, on: bool) -> Result<(), EditError> {
        self.slot(id)?;
        self.send(Command::Bypass { slot: id, on })
    }

    /// Fades out, resets every processor, fades in.
    ///
    /// # Errors
    /// [`EditError::QueueFull`].
    pub fn panic(&mut self) -> Result<(), EditError> {
        self.send(Command::Panic)
    }

    /// Sets a parameter at sample `time`, or at the next block if that has passed; clamped.
    ///
    /// # Errors
    /// See [`EditError`]; a full queue is counted as a dropped event too.
    pub fn set(&mut self, id: u32, name: &str, value: f32, time: u64) -> Result<(), EditError> {
        let slot = self.slot(id)?;
        let param = slot.info.param_id(name).ok_or_else(|| EditError::NoName(name.to_owned()))?;
        let spec = &slot.info.params[param];
        if spec.setup {
            return Err(EditError::SetupParameter(name.to_owned()));
        }
        if value.is_nan() {
            return Err(EditError::NotANumber(name.to_owned()));
        }
        let value = spec.clamp(value);
        let sent = self.send(Command::Set(ParamEvent { time, slot: id, param: param as u16, value }));
        if sent.is_err() {
            count(&self.shared.dropped_events);
        } else if let Some(s) = self.slots.iter_mut().find(|s| s.id == id) {
            s.values[param] = value;
        }
        sent
    }

    /// The value last set.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn get(&self, id: u32, name: &str) -> Result<f32, EditError> {
        let slot = self.slot(id)?;
        let param = slot.info.param_id(name).ok_or_else(|| EditError::NoName(name.to_owned()))?;
        Ok(slot.values[param])
    }

    /// Sets a live array.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn set_array(&mut self, id: u32, name: &str, data: &[f32]) -> Result<(), EditError> {
        let slot = self.slot(id)?;
        let array = slot.info.array_id(name).ok_or_else(|| EditError::NoName(name.to_owned()))?;
        if !slot.info.arrays[array].live {
            return Err(EditError::Array(format!(
                "array '{name}' takes effect only when the processor is built anew"
            )));
        }
        let len = slot.array_lens[array];
        if data.len() != len {
            return Err(EditError::Array(format!(
                "array '{name}' has {len} values here, not {}",
                data.len()
            )));
        }
        if let Some(i) = data.iter().position(|v| !v.is_finite()) {
            return Err(EditError::Array(format!("array '{name}': value {i} is {}", data[i])));
        }
        self.send(Command::SetArray { slot: id, array: array as u16, data: data.into() })
    }

    /// Subscribes to a tap: one frame every `hop` samples, at multiples of `hop` of the engine's
    /// sample time.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn subscribe(&mut self, id: u32, name: &str, hop: u64) -> Result<TapReader, EditError> {
        let slot = self.slot(id)?;
        let tap_id = slot.info.tap_id(name).ok_or_else(|| EditError::NoName(name.to_owned()))?;
        let width = slot.tap_lens[tap_id];
        let hop = hop.max(1);
        if slot.taps.iter().filter(|t| t.strong_count() > 0).count() >= MAX_TAPS_PER_SLOT {
            return Err(EditError::TooManyTaps);
        }
        let wanted = (TAP_SECONDS * self.config.sample_rate / hop as f64).ceil() as usize + 16;
        let frames = wanted.min((TAP_MAX_VALUES / width.max(1)).max(16));
        let (writer, reader) = tap(id, tap_id, width, hop, frames);
        let alive = reader.alive();
        self.send(Command::Subscribe(Box::new(writer)))?;
        if let Some(s) = self.slots.iter_mut().find(|s| s.id == id) {
            s.taps.retain(|t| t.strong_count() > 0);
            s.taps.push(alive);
        }
        Ok(reader)
    }

    /// Delay of the whole chain in samples.
    pub fn latency_samples(&self) -> usize {
        self.slots.iter().map(|s| s.latency_samples).sum()
    }

    /// How long the chain sounds on after its input ends, in samples; `usize::MAX` if for ever.
    pub fn tail_samples(&self) -> usize {
        self.slots.iter().fold(0, |sum, s| usize::saturating_add(sum, s.tail_samples))
    }

    /// Hands what came home to [`crate::reaper`] and counts the block times that arrived. Call it often while
    /// audio runs; [`crate::driver::housekeep`] does so on a thread of its own.
    pub fn drain(&mut self) {
        while let Ok(object) = self.returns.pop() {
            match object {
                Returned::Array(small) => drop(small),
                slow => dispose(slow),
            }
        }
        let slots = &self.slots;
        while let Ok(record) = self.records.pop() {
            self.statistics.add(&record, |id| slots.iter().any(|s| s.id == id));
        }
    }

    /// Name and fault of the first slot that is out of use: it panicked, or its model was stopped too often.
    pub fn out_of_use(&self) -> Option<(String, String)> {
        let slot = self.slots.iter().find(|s| s.is_out_of_use())?;
        Some((slot.name.clone(), slot.fault()))
    }

    /// Forgets the time statistics so far.
    pub fn reset_stats(&mut self) {
        self.drain();
        self.statistics = Statistics::new(self.config.sample_rate);
    }

    /// All statistics now. Peaks start anew.
    pub fn stats(&mut self) -> Snapshot {
        self.drain();
        let counts: Vec<WorkerCounts> = self.slots.iter_mut().map(SlotInfo::worker_counts).collect();
        let s = &self.shared;
        let meters: Vec<_> = s.meters.iter().map(|m| m.take()).collect();
        Snapshot {
            sample_time: s.sample_time.load(Relaxed),
            blocks: s.blocks.load(Relaxed),
            load: self.statistics.load(),
            deadline_misses: self.statistics.deadline_misses,
            input_xruns: s.input_xruns.load(Relaxed),
            output_xruns: s.output_xruns.load(Relaxed),
            bad_input_samples: s.bad_input_samples.load(Relaxed),
            dropped_events: s.dropped_events.load(Relaxed),
            dropped_records: s.dropped_records.load(Relaxed),
            panics: s.panics.load(Relaxed) + self.past_panics + counts.iter().map(|n| n.panics).sum::<u64>(),
            stuck_threads: stuck_threads(),
            histograms: self.statistics.histograms(),
            input_peak: meters.iter().map(|m| m.0).collect(),
            output_peak: meters.iter().map(|m| m.1).collect(),
            output_rms: meters.iter().map(|m| m.2).collect(),
            time: self.statistics.block(),
            slots: self.slots.iter().zip(counts).map(|(slot, n)| self.slot_stats(slot, n)).collect(),
        }
    }

    fn slot_stats(&self, slot: &SlotInfo, counts: WorkerCounts) -> SlotStats {
        let playing = slot.workers.last();
        let times = playing.map(|w| w.times.lock().unwrap_or_else(PoisonError::into_inner));
        SlotStats {
            slot: slot.id,
            name: slot.name.clone(),
            faults: slot.status.faults.load(Relaxed),
            panics: slot.status.panics.load(Relaxed) + counts.panics,
            out_of_use: slot.is_out_of_use(),
            fault: slot.fault(),
            late_blocks: slot.status.late_blocks.load(Relaxed) + counts.late_blocks,
            time: self.statistics.slot(slot.id),
            hops: counts.hops,
            late_hops: counts.late_hops,
            dropped_hops: counts.dropped_hops,
            failed_hops: counts.failed_hops,
            stopped_hops: counts.stopped_hops,
            hop_time: times.map(|h| percentiles(&h)).unwrap_or_default(),
        }
    }
}
