//! How many positions a client may have in an hour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::transport::Identity;

const HOUR_S: f64 = 3600.0;

/// What clients have used of their hours: each has an hour's positions at once, and what it has
/// used comes back evenly. Known to this process only.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<Identity, Used>>);

#[derive(Clone, Copy, Debug)]
struct Used {
    positions: f64,
    at: Instant,
    hourly: f64,
}

impl Used {
    fn now(self, now: Instant) -> f64 {
        let back = now.saturating_duration_since(self.at).as_secs_f64() * self.hourly / HOUR_S;
        (self.positions - back).max(0.0)
    }
}

impl Rates {
    /// Takes `positions` of the `hourly` ones that `client` may have.
    ///
    /// # Errors
    /// After how long there would be enough; nothing is taken then. `None` if never.
    pub fn take(&self, client: &Identity, positions: u64, hourly: u64, now: Instant) -> Result<(), Option<Duration>> {
        if hourly == u64::MAX {
            return Ok(());
        }
        let (positions, hourly) = (positions as f64, hourly as f64);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has everything back need not be remembered.
        all.retain(|_, used| used.now(now) > 0.0);
        let used = all.get(client).map_or(0.0, |used| used.now(now));
        if positions > hourly {
            return Err(None);
        }
        if used + positions > hourly {
            return Err(Some(Duration::from_secs_f64((used + positions - hourly) / hourly * HOUR_S)));
        }
        all.insert(client.clone(), Used { positions: used + positions, at: now, hourly });
        Ok(())
    }

    /// Gives back what a session did not use after all.
    pub fn give_back(&self, client: &Identity, positions: u64) {
        if let Some(used) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(client) {
            used.positions = (used.positions - positions as f64).max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_s_positions_come_back_evenly_to_each_client() {
        let (rates, began) = (Rates::default(), Instant::now());
        let [ann, bob] = ["ann", "bob"].map(Identity::named);
        let take = |client, positions, minutes: u64| {
            rates.take(client, positions, 600, began + Duration::from_secs(60 * minutes))
        };
        assert_eq!(take(&ann, 601, 0), Err(None));
        assert_eq!((take(&ann, 600, 0), take(&bob, 600, 0)), (Ok(()), Ok(())));
        // Ten come back each minute.
        assert_eq!(take(&ann, 25, 2), Err(Some(Duration::from_secs(30))));
        assert_eq!((take(&ann, 20, 2), take(&ann, 30, 5)), (Ok(()), Ok(())));
        assert_eq!(take(&ann, 1, 5), Err(Some(Duration::from_secs(6))));
        rates.give_back(&ann, 30);
        assert_eq!(take(&ann, 30, 5), Ok(()));
        assert_eq!(take(&bob, 600, 60), Ok(()));
        assert_eq!(rates.take(&bob, 1 << 40, u64::MAX, began), Ok(()));
    }
}
