//! The processors of CSpace: signal code only. No Python, no I/O, no threads; `process` never
//! allocates.
//!
//! Start at [`Processor`] for the contract every processor keeps, at [`registry`] for the list of
//! them, and at [`ParamSpec`] for how a knob is declared once and derived everywhere.

mod block;
mod param;
mod processor;
pub mod registry;
pub mod simd;
mod smooth;
mod state;

pub mod cspace;
pub mod eq;
pub mod esn;
pub mod gain;
pub mod heal;
pub mod kuramoto;
pub mod limiter;
pub mod manifold;
pub mod mix;

pub use block::Block;
pub use param::{Bank, ParamSpec, Scale};
pub use processor::{ArraySpec, Info, Prepare, PrepareError, Processor, TapSpec};
pub use smooth::Smoothed;
pub use state::{StateError, StateIo};
