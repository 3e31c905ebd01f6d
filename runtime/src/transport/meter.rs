//! What crosses a channel, counted.

use std::ops::{AddAssign, Sub};
use std::sync::{Arc, Mutex, PoisonError};

use fusion_backends::{Channel, Error, Kind};
use fusion_catalogue::FRAME_HEADER_BYTES;

/// Traffic as one party sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent, frame headers included.
    pub sent_bytes: u64,
    /// Bytes received, frame headers included.
    pub received_bytes: u64,
    /// Messages sent.
    pub sent_messages: u64,
    /// Messages received.
    pub received_messages: u64,
    /// How often this party turned from sending to receiving.
    pub rounds: u64,
}

/// A shared view of the traffic of one [`Metered`] channel.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<State>>);

/// A channel that counts what crosses it.
pub struct Metered {
    inner: Box<dyn Channel>,
    meter: Meter,
}

#[derive(Debug, Default)]
struct State {
    traffic: Traffic,
    sending: bool,
}

impl Meter {
    /// Everything so far.
    pub fn read(&self) -> Traffic {
        self.with(|state| state.traffic)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Metered {
    /// Counts what crosses `inner`; the meter stays readable wherever the channel goes.
    pub fn new(inner: Box<dyn Channel>) -> (Metered, Meter) {
        let meter = Meter::default();
        (Metered { inner, meter: meter.clone() }, meter)
    }
}

impl Channel for Metered {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Error> {
        let bytes = payload.len() as u64 + FRAME_HEADER_BYTES;
        self.inner.send(kind, payload)?;
        self.meter.with(|state| {
            state.traffic.sent_bytes += bytes;
            state.traffic.sent_messages += 1;
            state.sending = true;
        });
        Ok(())
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        let payload = self.inner.receive(kind, payload_bytes)?;
        self.meter.with(|state| {
            state.traffic.received_bytes += payload.len() as u64 + FRAME_HEADER_BYTES;
            state.traffic.received_messages += 1;
            state.traffic.rounds += u64::from(std::mem::take(&mut state.sending));
        });
        Ok(payload)
    }
}

impl Sub for Traffic {
    type Output = Traffic;

    /// What was added between the reading `earlier` and this one.
    fn sub(self, earlier: Traffic) -> Traffic {
        Traffic {
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
            received_bytes: self.received_bytes - earlier.received_bytes,
            sent_messages: self.sent_messages - earlier.sent_messages,
            received_messages: self.received_messages - earlier.received_messages,
            rounds: self.rounds - earlier.rounds,
        }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.sent_messages += other.sent_messages;
        self.received_messages += other.received_messages;
        self.rounds += other.rounds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_backends::channel::pair;

    #[test]
    fn bytes_carry_their_header_and_rounds_are_turns() {
        let (left, mut right) = pair();
        let (mut left, meter) = Metered::new(Box::new(left));
        left.send(Kind::Hello, vec![0; 10]).unwrap();
        left.send(Kind::Hello, vec![0; 5]).unwrap();
        right.send(Kind::Reveal, vec![0; 3]).unwrap();
        right.send(Kind::Reveal, vec![0; 4]).unwrap();
        let before = meter.read();
        left.receive(Kind::Reveal, 3).unwrap();
        left.receive(Kind::Reveal, 4).unwrap();
        left.send(Kind::Hello, vec![]).unwrap();

        assert_eq!(
            before,
            Traffic { sent_bytes: 31, received_bytes: 0, sent_messages: 2, received_messages: 0, rounds: 0 }
        );
        assert_eq!(
            meter.read() - before,
            Traffic { sent_bytes: 8, received_bytes: 23, sent_messages: 1, received_messages: 2, rounds: 1 }
        );
    }
}
