//! Several ordered channels between the same two parties, over one connection.

use std::fmt;

use fusion_backends::{Channel, Error};
use fusion_catalogue::Schedule;

use super::turn::Told;

/// Which of a connection's channels a message belongs to. Messages are in order within a lane and
/// independent across lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(u8);

impl Lane {
    /// The handshake, and signs of life.
    pub const CONTROL: Lane = Lane(0);
    /// How many streams of micro-batches there may be at once.
    pub const STREAMS: usize = Schedule::MOST_STREAMS as usize;
    /// How many lanes there are.
    pub const COUNT: usize = 1 + 3 * Lane::STREAMS;

    /// The layers of stream number `stream`.
    ///
    /// # Panics
    /// If there is no such stream.
    pub fn layers(stream: usize) -> Lane {
        assert!(stream < Lane::STREAMS, "there is no stream {stream}");
        Lane(1 + 3 * stream as u8)
    }

    /// The generator of correlations of stream number `stream`.
    ///
    /// # Panics
    /// If there is no such stream.
    pub fn correlations(stream: usize) -> Lane {
        Lane(Lane::layers(stream).0 + 1)
    }

    /// The linear layers of stream number `stream` that are computed on masks.
    ///
    /// # Panics
    /// If there is no such stream.
    pub fn masks(stream: usize) -> Lane {
        Lane(Lane::layers(stream).0 + 2)
    }

    /// The lane of this number, if there is one.
    pub fn from_index(index: u8) -> Option<Lane> {
        (usize::from(index) < Lane::COUNT).then_some(Lane(index))
    }

    /// Its number, below [`Lane::COUNT`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("the control lane"),
            lane => write!(f, "lane {lane}"),
        }
    }
}

/// What gives a session its channels. Dropping it and all of them sends what is still queued, then
/// hangs up.
pub trait Link: Send + Sync {
    /// The channel of `lane`. A peer that follows the protocol is never more than `ahead_bytes` of
    /// payload ahead of what this party has received there; a link need not hold more for it.
    ///
    /// # Errors
    /// Whatever keeps the link from opening a lane; each is opened once.
    fn open(&mut self, lane: Lane, ahead_bytes: u64) -> Result<Box<dyn Channel>, Error>;

    /// Sends what is still queued and says that no more comes, then waits for the peer to hang up.
    /// Nothing is sent or received afterwards.
    ///
    /// For who speaks last: what the peer has not read yet is still with the system, which throws
    /// it away once something arrives at a socket that is closed already, a sign of life for
    /// example (RFC 1122, section 4.2.2.13). A link that loses nothing that way need do nothing.
    fn see_off(&self);

    /// Who knows what the server said of its client's turn; `None` if nothing is said on this link.
    fn told(&self) -> Option<Told> {
        None
    }

    /// Hangs up at once: from now on every call on any lane fails, here and, once it has noticed,
    /// at the peer.
    fn break_off(&self);
}

/// A link with something put around each of its channels: a log, an emulated network, an adversary.
pub struct Wrapped<L, F> {
    link: L,
    around: F,
}

impl<L, F> Wrapped<L, F>
where
    L: Link,
    F: FnMut(Lane, Box<dyn Channel>) -> Box<dyn Channel> + Send + Sync,
{
    /// `link`, with `around` applied to whatever it opens.
    pub fn new(link: L, around: F) -> Wrapped<L, F> {
        Wrapped { link, around }
    }
}

impl<L, F> Link for Wrapped<L, F>
where
    L: Link,
    F: FnMut(Lane, Box<dyn Channel>) -> Box<dyn Channel> + Send + Sync,
{
    fn open(&mut self, lane: Lane, ahead_bytes: u64) -> Result<Box<dyn Channel>, Error> {
        let channel = self.link.open(lane, ahead_bytes)?;
        Ok((self.around)(lane, channel))
    }

    fn see_off(&self) {
        self.link.see_off();
    }

    fn told(&self) -> Option<Told> {
        self.link.told()
    }

    fn break_off(&self) {
        self.link.break_off();
    }
}

/// Breaks a link off when dropped, unless told that all went well: so a failure on one lane ends
/// whoever waits on another.
pub(crate) struct BreakOff<'l> {
    link: &'l dyn Link,
    armed: bool,
}

impl<'l> BreakOff<'l> {
    pub fn new(link: &'l dyn Link) -> BreakOff<'l> {
        BreakOff { link, armed: true }
    }

    pub fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for BreakOff<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.link.break_off();
        }
    }
}
