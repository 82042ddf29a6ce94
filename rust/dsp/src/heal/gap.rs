//! A gap from its first sample to the end of the way back.

use crate::simd::Level;
use crate::{StateError, StateIo};

use super::blend::{MODELS, Rehearsal};
use super::burg::Model;
use super::line::Lines;
use super::spec::Method;
use super::voice::Voice;

/// A loop's start is bent to its end over this time.
const JOIN_SECONDS: f64 = 0.001;
/// What is put in stays below so many times the highest peak of the time that models look back on.
/// Tighter bounds cost more in good predictions than they save in bad ones.
const BOUND: f32 = 1.5;

/// What is played on, one channel.
struct Part {
    voices: [Voice; MODELS],
    shares: [f64; MODELS],
    bound: f64,
    /// The last period, and the step from its end to its start.
    turn: Vec<f32>,
    step: f32,
}

/// How a gap is to be filled, taken when it begins; times in samples.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub method: Method,
    pub hold: u64,
    pub fade: u64,
    /// Length of what `Repeat` repeats.
    pub lag: usize,
}

const AT_FIRST: Manner = Manner { method: Method::Blend, hold: 0, fade: 0, lag: 1 };

/// Plays on, and comes back.
pub struct Gap {
    parts: Vec<Part>,
    manner: Manner,
    active: bool,
    /// Its first sample.
    start: u64,
    /// Samples put in so far.
    age: u64,
    /// Samples of the past whose peak bounds what is put in.
    reach: usize,
    join: usize,
    /// Samples of the way back that are gone, of `back`; 0 while the input is lost.
    returned: usize,
    back: usize,
    /// Share of what is put in, in the last sample.
    share: f32,
}

impl Gap {
    /// Thread: control. Allocates.
    pub fn new(
        orders: [usize; MODELS],
        longest: usize,
        reach: usize,
        channels: usize,
        sample_rate: f64,
    ) -> Self {
        let part = || Part {
            voices: orders.map(Voice::new),
            shares: [0.0; MODELS],
            bound: 0.0,
            turn: vec![0.0; longest],
            step: 0.0,
        };
        Self {
            parts: (0..channels).map(|_| part()).collect(),
            manner: AT_FIRST,
            active: false,
            start: 0,
            age: 0,
            reach,
            join: ((JOIN_SECONDS * sample_rate) as usize).max(1),
            returned: 0,
            back: 1,
            share: 0.0,
        }
    }

    /// Thread: audio.
    pub fn clear(&mut self) {
        for part in &mut self.parts {
            part.voices.iter_mut().for_each(Voice::clear);
            part.shares = [0.0; MODELS];
            part.bound = 0.0;
            part.turn.fill(0.0);
            part.step = 0.0;
        }
        (self.active, self.age, self.returned, self.back) = (false, 0, 0, 1);
        (self.start, self.share) = (0, 0.0);
        self.manner = AT_FIRST;
    }

    /// Whether anything is put in.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Whether the input is there again and fades in.
    pub fn is_returning(&self) -> bool {
        self.returned > 0
    }

    /// Its first sample.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Samples put in since the gap began.
    pub fn age(&self) -> u64 {
        self.age
    }

    /// Share of what is put in, in the last sample.
    pub fn share(&self) -> f32 {
        self.share
    }

    /// Begins at sample `at`, from what was heard before it. Thread: audio. Never allocates, locks or logs.
    pub fn begin(
        &mut self,
        manner: Manner,
        models: &[Model; MODELS],
        rehearsal: &Rehearsal,
        lines: &Lines,
        at: u64,
    ) {
        (self.active, self.start, self.age, self.returned) = (true, at, 0, 0);
        self.manner = manner;
        self.manner.lag = manner.lag.min(self.parts[0].turn.len());
        let Manner { method, lag, .. } = self.manner;
        for (c, part) in self.parts.iter_mut().enumerate() {
            part.bound = f64::from(BOUND * lines.peak(c, at - self.reach as u64, at));
            // A long memory that is not fresh foretells worse than silence; a short one is never old.
            let fresh = models[1].ready_end() == at;
            part.shares = match method {
                Method::Blend if fresh => rehearsal.shares(c),
                Method::Blend | Method::Short => [1.0, 0.0],
                Method::Long => [0.0, 1.0],
                Method::Repeat | Method::Zero => [0.0, 0.0],
            };
            for ((voice, share), model) in part.voices.iter_mut().zip(part.shares).zip(models) {
                if share > 0.0 {
                    voice.start(model.ready(c), lines, c, at, part.bound);
                }
            }
            if method == Method::Repeat {
                lines.read(c, at - lag as u64, &mut part.turn[..lag]);
                part.step = lines.at(c, at - 1) - lines.at(c, at - 1 - lag as u64);
            }
        }
    }

    /// The model of what lies before the gap is ready, which was not when it began: it goes on from
    /// what was put in before sample `at`. Thread: audio. Never allocates, locks or logs.
    pub fn renew(&mut self, index: usize, model: &Model, rehearsal: &Rehearsal, lines: &Lines, at: u64) {
        if !self.manner.method.models()[index] {
            return;
        }
        for (c, part) in self.parts.iter_mut().enumerate() {
            if part.shares[index] > 0.0 {
                part.voices[index].adopt(model.ready(c));
            } else {
                part.voices[index].start(model.ready(c), lines, c, at, part.bound);
                part.shares = rehearsal.shares(c);
            }
        }
    }

    /// The input is there again; it is all that is heard after `back` samples. Thread: audio.
    pub fn come_back(&mut self, back: usize) {
        self.back = back.max(1);
        self.returned = 1;
    }

    /// Level of what is put in: held, then a straight line to silence.
    fn level(&self) -> f32 {
        if self.age < self.manner.hold {
            1.0
        } else if self.age - self.manner.hold < self.manner.fade {
            1.0 - (self.age - self.manner.hold) as f32 / self.manner.fade as f32
        } else {
            0.0
        }
    }

    /// Puts sample `t` into all lines. Thread: audio. Never allocates, locks or logs.
    pub fn tick(&mut self, lines: &mut Lines, t: u64, simd: Level) {
        let level = self.level();
        let place = (self.age % self.manner.lag as u64) as usize;
        let bend = if place < self.join { 1.0 - place as f32 / self.join as f32 } else { 0.0 };
        let there = self.returned as f32 / self.back as f32;
        for (c, part) in self.parts.iter_mut().enumerate() {
            let on = if level == 0.0 {
                0.0
            } else if self.manner.method == Method::Repeat {
                part.turn[place] + part.step * bend
            } else {
                let voices = part.voices.iter_mut().zip(part.shares);
                voices.filter(|v| v.1 > 0.0).map(|(voice, share)| share * voice.tick(simd)).sum::<f64>()
                    as f32
            };
            let on = on * level;
            let y = if self.returned > 0 { on + (lines.at(c, t) - on) * there } else { on };
            lines.set(c, t, y);
        }
        self.age += 1;
        self.share = 1.0 - there;
        if self.returned > 0 {
            self.returned += 1;
            self.active = self.returned <= self.back;
            if !self.active {
                (self.returned, self.share) = (0, 0.0);
            }
        }
    }

    /// Saves or restores.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        for part in &mut self.parts {
            part.voices.iter_mut().try_for_each(|v| v.state(io))?;
            io.f64s(&mut part.shares)?;
            io.f64(&mut part.bound)?;
            io.f32s(&mut part.turn)?;
            io.f32(&mut part.step)?;
        }
        let mut method = self.manner.method as u32;
        io.u32(&mut method)?;
        self.manner.method = Method::from_param(method as f32);
        io.bool(&mut self.active)?;
        io.u64(&mut self.start)?;
        io.u64(&mut self.age)?;
        io.u64(&mut self.manner.hold)?;
        io.u64(&mut self.manner.fade)?;
        io.usize(&mut self.manner.lag)?;
        io.usize(&mut self.returned)?;
        io.usize(&mut self.back)?;
        io.f32(&mut self.share)
    }
}
