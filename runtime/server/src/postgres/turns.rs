//! Turns of one client's sessions: at most one of them changes its row at a time. Somebody else may
//! hold the row, and whoever waits for it in the database holds up all others on the connection.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Clients whose turn is taken.
#[derive(Default)]
pub struct Turns {
    taken: Mutex<HashSet<String>>,
    given_back: Condvar,
}

/// A turn, for as long as it is there.
pub struct Turn<'a>(&'a Turns, &'a str);

impl Turns {
    /// The turn of `client`; `None` if it does not come in time.
    pub fn wait<'a>(&'a self, client: &'a str, patience: Duration) -> Option<Turn<'a>> {
        let waited = self.given_back.wait_timeout_while(self.taken(), patience, |taken| taken.contains(client));
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        taken.insert(client.to_owned()).then(|| Turn(self, client))
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<String>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken().remove(self.1);
        self.0.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_for_itself_and_nobody_else() {
        let (turns, none, long) = (Turns::default(), Duration::ZERO, Duration::from_secs(600));
        let ann = turns.wait("ann", none).unwrap();
        assert!(turns.wait("ann", none).is_none() && turns.wait("bob", none).is_some());
        std::thread::scope(|scope| {
            let next = scope.spawn(|| turns.wait("ann", long).is_some());
            drop(ann);
            assert!(next.join().unwrap());
        });
        assert!(turns.wait("ann", none).is_some());
    }
}
