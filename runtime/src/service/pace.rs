//! How long sessions of a plan take, by those that there were.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Sizes of sessions are told apart by factors of two.
const CLASSES: usize = u64::BITS as usize;
/// What a new session weighs against all before it.
const WEIGHT: f64 = 0.3;

/// Seconds for a position, by the size of the session, of those that ended well.
#[derive(Debug)]
pub(super) struct Pace(Mutex<[Option<f64>; CLASSES]>);

impl Default for Pace {
    fn default() -> Pace {
        Pace(Mutex::new([None; CLASSES]))
    }
}

impl Pace {
    /// A session of so many positions has taken `time`.
    pub fn learn(&self, positions: u64, time: Duration) {
        let each = time.as_secs_f64() / positions.max(1) as f64;
        let mut classes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut classes[class(positions)];
        *known = Some(known.map_or(each, |before| before + WEIGHT * (each - before)));
    }

    /// How long one of so many positions will take, by those of most nearly its size; `None` if
    /// there were none.
    pub fn expect(&self, positions: u64) -> Option<Duration> {
        let classes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let near = (0..CLASSES).filter(|at| classes[*at].is_some()).min_by_key(|at| at.abs_diff(class(positions)))?;
        Duration::try_from_secs_f64(classes[near]? * positions as f64).ok()
    }
}

fn class(positions: u64) -> usize {
    positions.max(1).ilog2() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_take_what_the_last_of_their_size_took() {
        let pace = Pace::default();
        assert_eq!(pace.expect(7), None);
        pace.learn(1, Duration::from_secs(2));
        pace.learn(100, Duration::from_secs(50));
        assert_eq!(pace.expect(1), Some(Duration::from_secs(2)));
        assert_eq!(pace.expect(64), Some(Duration::from_secs(32)));
        assert_eq!(pace.expect(2), Some(Duration::from_secs(4)));
        assert_eq!(pace.expect(1000), Some(Duration::from_secs(500)));
        (0..40).for_each(|_| pace.learn(1, Duration::from_secs(4)));
        assert!(pace.expect(1).unwrap() > Duration::from_millis(3990));
        assert_eq!(pace.expect(u64::MAX).map(|time| time > Duration::from_secs(1)), Some(true));
    }
}
