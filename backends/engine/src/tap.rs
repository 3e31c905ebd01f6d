//! A channel that is watched, or meddled with: to write a session down, and to test what a party
//! does about a peer that is not honest.

use std::sync::{Arc, Mutex};

use fusion_catalogue::Message as Predicted;
use fusion_ir::Party;

use crate::{Channel, Error, Kind};

/// A message that passes.
pub enum Message<'m> {
    /// About to be sent; may be changed.
    Sending(&'m mut Vec<u8>),
    /// Just received; may be changed before this party reads it.
    Received(&'m mut Vec<u8>),
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It goes on, as it now is.
    Pass,
    /// It is not sent, and nobody is told. What was received goes on.
    Withhold,
    /// The channel fails.
    HangUp,
}

/// A channel of which `tap` sees every message: before it is sent, and after it has come with the
/// kind and the size that were asked for.
pub struct Tapped<C, T> {
    inner: C,
    tap: T,
}

impl<C: Channel, T: FnMut(Kind, Message<'_>) -> Act + Send> Tapped<C, T> {
    /// `inner`, tapped.
    pub fn new(inner: C, tap: T) -> Tapped<C, T> {
        Tapped { inner, tap }
    }
}

impl<C: Channel, T: FnMut(Kind, Message<'_>) -> Act + Send> Channel for Tapped<C, T> {
    fn send(&mut self, kind: Kind, mut payload: Vec<u8>) -> Result<(), Error> {
        match (self.tap)(kind, Message::Sending(&mut payload)) {
            Act::Pass => self.inner.send(kind, payload),
            Act::Withhold => Ok(()),
            Act::HangUp => Err(hung_up()),
        }
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        let mut payload = self.inner.receive(kind, payload_bytes)?;
        match (self.tap)(kind, Message::Received(&mut payload)) {
            Act::Pass | Act::Withhold => Ok(payload),
            Act::HangUp => Err(hung_up()),
        }
    }
}

fn hung_up() -> Error {
    std::io::Error::other("whoever taps the channel has ended it").into()
}

/// `inner`, of which `watch` is shown every message.
pub fn watched<C: Channel>(inner: C, mut watch: impl FnMut(Kind, Message<'_>) + Send) -> impl Channel {
    Tapped::new(inner, move |kind, message: Message<'_>| {
        watch(kind, message);
        Act::Pass
    })
}

/// Messages in order, as [costs](fusion_catalogue::Cost) predict them.
pub type Log = Arc<Mutex<Vec<Predicted>>>;

/// `party`'s end of a connection, whose messages both ways are written down.
pub fn logged<C: Channel>(inner: C, party: Party, log: &Log) -> impl Channel + use<C> {
    let log = Arc::clone(log);
    watched(inner, move |_, message| {
        let (from, payload) = match message {
            Message::Sending(payload) => (party, payload),
            Message::Received(payload) => (party.peer(), payload),
        };
        // A party that panicked with the lock held is no reason to panic too.
        let mut log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        log.push(Predicted { from, payload_bytes: payload.len() as u64 });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::pair;

    #[test]
    fn a_tap_sees_changes_withholds_and_ends() {
        let (left, mut right) = pair();
        let mut number = 0;
        let mut left = Tapped::new(left, |kind, message: Message<'_>| {
            number += 1;
            match (number, message) {
                (1, Message::Sending(payload)) => payload.push(9),
                (2, Message::Sending(_)) => return Act::Withhold,
                (4, Message::Received(payload)) => {
                    assert_eq!((kind, payload.as_slice()), (Kind::Reveal, [5].as_slice()));
                    payload[0] = 6;
                }
                (5, _) => return Act::HangUp,
                _ => {}
            }
            Act::Pass
        });
        for payload in [vec![1], vec![2], vec![3]] {
            left.send(Kind::Comparison, payload).unwrap();
        }
        assert_eq!(right.receive(Kind::Comparison, 2).unwrap(), [1, 9]);
        assert_eq!(right.receive(Kind::Comparison, 1).unwrap(), [3]);
        right.send(Kind::Reveal, vec![5]).unwrap();
        assert_eq!(left.receive(Kind::Reveal, 1).unwrap(), [6]);
        assert!(matches!(left.send(Kind::Reveal, vec![7]), Err(Error::Io(_))));
    }

    #[test]
    fn a_log_has_both_directions() {
        let (left, mut right) = pair();
        let log = Log::default();
        let mut left = logged(left, Party::Server, &log);
        left.send(Kind::BaseOt, vec![0; 3]).unwrap();
        right.send(Kind::BaseOt, vec![0; 4]).unwrap();
        left.receive(Kind::BaseOt, 4).unwrap();
        let log = log.lock().unwrap();
        let seen: Vec<_> = log.iter().map(|message| (message.from, message.payload_bytes)).collect();
        assert_eq!(seen, [(Party::Server, 3), (Party::Client, 4)]);
    }
}
