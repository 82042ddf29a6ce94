//! The engine's statistics as Python dictionaries.

use cspace_engine::{Snapshot, TimeStats};
use pyo3::prelude::*;
use pyo3::types::PyDict;

fn times<'py>(py: Python<'py>, t: &TimeStats) -> PyResult<Bound<'py, PyDict>> {
    let d = PyDict::new(py);
    d.set_item("count", t.count)?;
    d.set_item("p50_us", t.p50_us)?;
    d.set_item("p99_us", t.p99_us)?;
    d.set_item("p999_us", t.p999_us)?;
    d.set_item("max_us", t.max_us)?;
    d.set_item("mean_us", t.mean_us)?;
    Ok(d)
}

/// `EngineStats` of the type stub.
pub fn dict(py: Python<'_>, s: Snapshot) -> PyResult<Bound<'_, PyDict>> {
    let d = PyDict::new(py);
    d.set_item("sample_time", s.sample_time)?;
    d.set_item("blocks", s.blocks)?;
    d.set_item("load", s.load)?;
    d.set_item("deadline_misses", s.deadline_misses)?;
    d.set_item("input_xruns", s.input_xruns)?;
    d.set_item("output_xruns", s.output_xruns)?;
    d.set_item("bad_input_samples", s.bad_input_samples)?;
    d.set_item("dropped_events", s.dropped_events)?;
    d.set_item("dropped_records", s.dropped_records)?;
    d.set_item("panics", s.panics)?;
    d.set_item("stuck_threads", s.stuck_threads)?;
    d.set_item("histograms", s.histograms)?;
    d.set_item("input_peak", s.input_peak)?;
    d.set_item("output_peak", s.output_peak)?;
    d.set_item("output_rms", s.output_rms)?;
    d.set_item("time", times(py, &s.time)?)?;
    let mut slots = Vec::new();
    for slot in &s.slots {
        let e = PyDict::new(py);
        e.set_item("slot", slot.slot)?;
        e.set_item("name", &slot.name)?;
        e.set_item("faults", slot.faults)?;
        e.set_item("panics", slot.panics)?;
        e.set_item("out_of_use", slot.out_of_use)?;
        e.set_item("fault", &slot.fault)?;
        e.set_item("late_blocks", slot.late_blocks)?;
        e.set_item("time", times(py, &slot.time)?)?;
        e.set_item("hops", slot.hops)?;
        e.set_item("late_hops", slot.late_hops)?;
        e.set_item("dropped_hops", slot.dropped_hops)?;
        e.set_item("failed_hops", slot.failed_hops)?;
        e.set_item("stopped_hops", slot.stopped_hops)?;
        e.set_item("hop_time", times(py, &slot.hop_time)?)?;
        slots.push(e);
    }
    d.set_item("slots", slots)?;
    Ok(d)
}
