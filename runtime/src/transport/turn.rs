//! A place in a server's queue, as a client that waits is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// When a client's turn comes, as far as its server can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Sessions that wait and whose turn comes before.
    pub before: u32,
    /// About how long it takes until then, in whole seconds; `None` if the server does not know yet
    /// how long sessions take.
    pub wait: Option<Duration>,
}

/// Says what a link's peer last said of this party's turn.
pub type Told = Arc<dyn Fn() -> Option<Turn> + Send + Sync>;

impl Turn {
    /// Of its form on the wire: two numbers, little-endian.
    pub(super) const BYTES: usize = 8;
    const UNKNOWN: u32 = u32::MAX;

    pub(super) fn encode(self) -> [u8; Turn::BYTES] {
        let seconds = |wait: Duration| u32::try_from(wait.as_secs()).unwrap_or(Turn::UNKNOWN);
        let [b0, b1, b2, b3] = self.before.to_le_bytes();
        let [s0, s1, s2, s3] = self.wait.map_or(Turn::UNKNOWN, seconds).to_le_bytes();
        [b0, b1, b2, b3, s0, s1, s2, s3]
    }

    /// Any bytes are a turn.
    pub(super) fn decode([b0, b1, b2, b3, s0, s1, s2, s3]: [u8; Turn::BYTES]) -> Turn {
        let seconds = u32::from_le_bytes([s0, s1, s2, s3]);
        let wait = (seconds != Turn::UNKNOWN).then(|| Duration::from_secs(seconds.into()));
        Turn { before: u32::from_le_bytes([b0, b1, b2, b3]), wait }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.before {
            0 => f.write_str("nobody waits before")?,
            1 => f.write_str("one session waits before")?,
            before => write!(f, "{before} sessions wait before")?,
        }
        match self.wait.map(|wait| wait.as_secs()) {
            Some(seconds @ ..120) => write!(f, ", about {seconds} s"),
            Some(seconds) => write!(f, ", about {} min", seconds.div_ceil(60)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_survive_the_wire_and_read_as_sentences() {
        for (before, seconds, text) in [
            (0, Some(3), "nobody waits before, about 3 s"),
            (1, None, "one session waits before"),
            (7, Some(121), "7 sessions wait before, about 3 min"),
        ] {
            let turn = Turn { before, wait: seconds.map(Duration::from_secs) };
            assert_eq!(Turn::decode(turn.encode()), turn);
            assert_eq!(turn.to_string(), text);
        }
        let long = Turn { before: u32::MAX, wait: Some(Duration::MAX) };
        assert_eq!(Turn::decode(long.encode()), Turn { wait: None, ..long });
    }
}
