//! CSpace: the sound as the states of a bank of damped oscillators.

pub mod bank;
