//! What the control side sends to the audio side, and what comes home.

use crate::fileport::Ear;
use crate::slot::{Slot, Voice};
use crate::taps::TapWriter;

/// A message to the audio thread. Boxes are built, and later freed, on the control thread.
pub(crate) enum Command {
    /// Newest wins: a later value for the same parameter starts a new ramp.
    Set(ParamEvent),
    /// Queued in order.
    SetArray { slot: u32, array: u16, data: Box<[f32]> },
    /// Queued in order. `before`: the slot it goes in front of, or the end.
    Insert { slot: Box<Slot>, before: Option<u32> },
    /// Queued in order.
    Remove { slot: u32 },
    /// Queued in order; during a running cross-fade the newest waits and older ones go home unheard.
    Replace { slot: u32, voice: Box<Voice> },
    /// Queued in order: fades out, moves, fades in.
    Move { slot: u32, before: Option<u32> },
    /// Newest wins.
    Bypass { slot: u32, on: bool },
    /// Queued in order.
    Subscribe(Box<TapWriter>),
    /// Newest wins: the ear before it goes home.
    Listen { slot: u32, ear: Box<Ear> },
    /// Fade out, reset everything, fade in.
    Panic,
}

/// One parameter value with the sample at which it takes effect.
#[derive(Clone, Copy)]
pub(crate) struct ParamEvent {
    pub time: u64,
    pub slot: u32,
    pub param: u16,
    pub value: f32,
}

/// An object the audio side has done with; freed by [`crate::reaper`].
#[allow(dead_code, reason = "carried home only to be dropped")]
pub(crate) enum Returned {
    Slot(Box<Slot>),
    Voice(Box<Voice>),
    Array(Box<[f32]>),
    Tap(Box<TapWriter>),
    Ear(Box<Ear>),
}
