//! What a panic said: caught where it happens, kept as a text, shown with the statistics, never printed.

use std::any::Any;
use std::cell::Cell;
use std::fmt::Write;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};

/// Longest text kept, in bytes.
const LENGTH: usize = 240;

/// What `catch_unwind` gives back.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Text of a fixed size.
#[derive(Clone, Copy)]
struct Text {
    bytes: [u8; LENGTH],
    length: usize,
}

impl Text {
    const EMPTY: Self = Self { bytes: [0; LENGTH], length: 0 };
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        let mut n = s.len().min(LENGTH - self.length);
        while !s.is_char_boundary(n) {
            n -= 1;
        }
        self.bytes[self.length..self.length + n].copy_from_slice(&s.as_bytes()[..n]);
        self.length += n;
        if n < s.len() { Err(std::fmt::Error) } else { Ok(()) }
    }
}

thread_local! {
    /// What this thread's last panic said, and where.
    static LAST: Cell<Text> = const { Cell::new(Text::EMPTY) };
}

/// Panics of this library print nothing from now on: whoever catches one says what it was. Neither
/// allocates nor locks. Thread: control, once.
pub fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|info| {
        let mut text = Text::EMPTY;
        let _ = write!(text, "{}", message(info.payload()));
        if let Some(at) = info.location() {
            let file = at.file().rsplit(['/', '\\']).next().unwrap_or_default();
            let _ = write!(text, " ({file}:{})", at.line());
        }
        LAST.set(text);
    }));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let fixed = payload.downcast_ref::<&str>().copied();
    fixed.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("it said nothing")
}

/// What the panic said that this thread has just caught, and where if that is known. May allocate.
pub fn describe(payload: &(dyn Any + Send)) -> String {
    let last = LAST.replace(Text::EMPTY);
    let noted = std::str::from_utf8(&last.bytes[..last.length]).unwrap_or_default();
    let said = message(payload);
    if noted.starts_with(said) || !noted.is_empty() && said.starts_with(noted) { noted } else { said }
        .to_owned()
}

/// The last text written to it, for the audio side to write and the control side to read; neither waits.
#[derive(Debug)]
pub(crate) struct SharedText {
    bytes: [AtomicU8; LENGTH],
    length: AtomicUsize,
    /// Odd while the text is being written.
    version: AtomicUsize,
}

impl Default for SharedText {
    fn default() -> Self {
        Self {
            bytes: [const { AtomicU8::new(0) }; LENGTH],
            length: AtomicUsize::new(0),
            version: AtomicUsize::new(0),
        }
    }
}

impl SharedText {
    /// What the panic said that this thread has just caught. Thread: audio, one at a time. Never allocates,
    /// frees, locks or logs.
    pub fn set(&self, payload: &(dyn Any + Send)) {
        let last = LAST.replace(Text::EMPTY);
        let said = message(payload).as_bytes();
        let noted = &last.bytes[..last.length];
        let same = !noted.is_empty() && noted.starts_with(&said[..said.len().min(noted.len())]);
        let text = if same { noted } else { said };
        let n = text.len().min(LENGTH);
        self.version.fetch_add(1, SeqCst);
        self.bytes.iter().zip(text).for_each(|(to, &b)| to.store(b, SeqCst));
        self.length.store(n, SeqCst);
        self.version.fetch_add(1, SeqCst);
    }

    /// Thread: control. Allocates.
    pub fn get(&self) -> String {
        let mut text = Vec::with_capacity(LENGTH);
        for _ in 0..3 {
            let before = self.version.load(SeqCst);
            text.clear();
            text.extend(self.bytes[..self.length.load(SeqCst)].iter().map(|b| b.load(SeqCst)));
            if before.is_multiple_of(2) && before == self.version.load(SeqCst) {
                break; // else it was being written
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_panic_are_kept_and_cut_to_size() {
        let shared = SharedText::default();
        assert_eq!(shared.get(), "");
        shared.set(&"short");
        assert_eq!(shared.get(), "short");
        shared.set(&"ä".repeat(LENGTH));
        assert_eq!(shared.get(), "ä".repeat(LENGTH / 2));
        shared.set(&5_u8);
        assert_eq!(shared.get(), "it said nothing");
        assert_eq!(describe(&String::from("in words")), "in words");
    }
}
