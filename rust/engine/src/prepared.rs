//! Slots made ready outside every lock. Thread: control throughout.

use cspace_dsp::Processor;
use std::sync::Arc;

use crate::Config;
use crate::edit::SlotInfo;
use crate::hosted::WorkerCounts;
use crate::shared::SlotShared;
use crate::slot::{Slot, Voice};

/// A slot made ready beside the engine, so that inserting or replacing it takes no time.
pub struct Prepared {
    pub(crate) slot: Box<Slot>,
    pub(crate) known: SlotInfo,
}

impl Prepared {
    /// Around a processor that is ready to run. Thread: control. Allocates.
    pub fn new(config: &Config, processor: Box<dyn Processor>, name: &str) -> Self {
        Self::with_status(config, processor, name, Arc::default())
    }

    pub(crate) fn with_status(
        config: &Config,
        processor: Box<dyn Processor>,
        name: &str,
        status: Arc<SlotShared>,
    ) -> Self {
        let mut known = SlotInfo {
            id: 0, // until it is inserted
            name: name.to_owned(),
            info: processor.info(),
            latency_samples: 0,
            tail_samples: 0,
            values: Vec::new(),
            tap_lens: Vec::new(),
            array_lens: Vec::new(),
            taps: Vec::new(),
            status: status.clone(),
            workers: Vec::new(),
            past: WorkerCounts::default(),
        };
        known.learn(&*processor);
        let slot = Box::new(Slot::new(0, Voice::new(processor, config.channels), config, status));
        Self { slot, known }
    }
}
