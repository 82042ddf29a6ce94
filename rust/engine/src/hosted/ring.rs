//! Hops between two threads: headers in one ring, their values in another, written first.

use rtrb::{Consumer, Producer, RingBuffer};

/// In front of the samples of a hop.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub number: u64,
    /// The models forget all before this hop.
    pub fresh: bool,
}

/// One direction: headers in one ring, their values in another, written first.
pub(super) struct Sender {
    headers: Producer<Header>,
    values: Producer<f32>,
}

pub(super) struct Receiver {
    headers: Consumer<Header>,
    values: Consumer<f32>,
    pub size: usize,
}

pub(super) fn ring(hops: usize, size: usize) -> (Sender, Receiver) {
    let (headers_in, headers_out) = RingBuffer::new(hops);
    let (values_in, values_out) = RingBuffer::new(hops * size);
    (
        Sender { headers: headers_in, values: values_in },
        Receiver { headers: headers_out, values: values_out, size },
    )
}

impl Sender {
    /// False if there is no room. Thread: audio or worker. Never allocates, locks or logs.
    pub fn send(&mut self, header: Header, parts: [&[f32]; 2]) -> bool {
        let size = parts[0].len() + parts[1].len();
        if self.headers.is_full() {
            return false;
        }
        let Ok(chunk) = self.values.write_chunk_uninit(size) else { return false };
        chunk.fill_from_iter(parts[0].iter().chain(parts[1]).copied());
        self.headers.push(header).is_ok()
    }
}

impl Receiver {
    /// Takes the next hop's values into `to`. Thread: audio or worker.
    pub fn take(&mut self, to: &mut [f32]) -> Option<Header> {
        let header = self.headers.pop().ok()?;
        let chunk = self.values.read_chunk(self.size).ok()?;
        for (x, v) in to.iter_mut().zip(chunk) {
            *x = v;
        }
        Some(header)
    }

    pub fn skip(&mut self) {
        if self.headers.pop().is_ok()
            && let Ok(chunk) = self.values.read_chunk(self.size)
        {
            chunk.commit_all();
        }
    }
}

impl Receiver {
    /// The number of the next hop, if there is one. Thread: audio. Never allocates, locks or logs.
    pub fn next(&self) -> Option<u64> {
        self.headers.peek().ok().map(|h| h.number)
    }

    /// Hops that wait. Thread: worker.
    pub fn waiting(&self) -> usize {
        self.headers.slots()
    }
}
