//! The list of all processors. A new one is a line here; hosts, tests and docs find it by itself.

use crate::{Info, Processor};

type Make = fn() -> Box<dyn Processor>;

/// One line per processor.
const MAKERS: &[(&Info, Make)] = &[
    (&crate::esn::INFO, || Box::new(crate::esn::Esn::new())),
    (&crate::cspace::INFO, || Box::new(crate::cspace::CSpace::new())),
    (&crate::eq::INFO, || Box::new(crate::eq::Eq::new())),
    (&crate::kuramoto::INFO, || Box::new(crate::kuramoto::Kuramoto::new())),
    (&crate::heal::INFO, || Box::new(crate::heal::Heal::new())),
    (&crate::gain::INFO, || Box::new(crate::gain::Gain::new())),
    (&crate::mix::INFO, || Box::new(crate::mix::Mix::new())),
    (&crate::limiter::INFO, || Box::new(crate::limiter::Limiter::new())),
];

/// What processors there are, in the order they are listed to people.
pub fn all() -> impl Iterator<Item = &'static Info> {
    MAKERS.iter().map(|(info, _)| *info)
}

/// A new processor by name, parameters at their defaults. Thread: control. May allocate.
pub fn create(name: &str) -> Option<Box<dyn Processor>> {
    MAKERS.iter().find(|(info, _)| info.name == name).map(|(_, make)| make())
}
