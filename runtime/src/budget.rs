//! The server's query budget: how many positions each client may still have answered, across
//! sessions and restarts.
//!
//! A client that sees enough labels can train a copy of the model. The server cannot tell copies
//! and public samples from queries, so it counts positions. A session's positions are spent when it
//! starts, before anything but its size is known: a client that hangs up after it has its labels
//! has spent them too. What is spent stays spent when the limit changes.

use std::path::Path;

use fusion_backends::Error as PeerError;
use redb::{ReadableTable, TableDefinition};

use crate::Error;
use crate::store::Store;
use crate::transport::Identity;

const SPENT: TableDefinition<&str, u64> = TableDefinition::new("positions spent");

/// The budgets of all clients, in a file.
#[derive(Clone, Debug)]
pub struct Budget {
    store: Store,
    positions: u64,
}

impl Budget {
    /// Gives each client `positions` positions, less what the file at `path` says it has spent.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be used.
    pub fn open(path: &Path, positions: u64) -> Result<Budget, Error> {
        let budget = Budget { store: Store::new(path)?, positions };
        budget.store.transaction(|transaction| Ok(transaction.open_table(SPENT).map(drop)?))?;
        Ok(budget)
    }

    /// What `client` has left.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be used.
    pub fn left(&self, client: &Identity) -> Result<u64, Error> {
        let spent = self.store.transaction(|transaction| {
            Ok(transaction.open_table(SPENT)?.get(client.as_str())?.map_or(0, |spent| spent.value()))
        })?;
        Ok(self.positions.saturating_sub(spent))
    }

    /// Everyone who has spent anything, as [`Identity`] shows it, with how much.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be used.
    pub fn spent(&self) -> Result<Vec<(String, u64)>, Error> {
        self.store.transaction(|transaction| {
            let table = transaction.open_table(SPENT)?;
            let entry = |entry: (redb::AccessGuard<'_, &str>, redb::AccessGuard<'_, u64>)| {
                (entry.0.value().to_owned(), entry.1.value())
            };
            table.iter()?.map(|found| Ok(entry(found?))).collect()
        })
    }

    /// Spends `positions` of `client`'s budget, all or none; spent is what is on disk when this
    /// returns.
    ///
    /// # Errors
    /// [`Error::Peer`], for the client to read, if it has too few left: it says how many.
    /// [`Error::State`] if the file cannot be used; then no session may start.
    pub fn spend(&self, client: &Identity, positions: u64) -> Result<(), Error> {
        let refused = self.store.transaction(|transaction| {
            let mut table = transaction.open_table(SPENT)?;
            let spent = table.get(client.as_str())?.map_or(0, |spent| spent.value());
            let left = self.positions.saturating_sub(spent);
            if positions > left {
                return Ok(Some(left));
            }
            // At most the limit, so the sum is in range.
            table.insert(client.as_str(), spent + positions)?;
            Ok(None)
        })?;
        refused.map_or(Ok(()), |left| Err(self.too_few(positions, left)))
    }

    /// Gives back `positions` of what the client that [`Budget::spent`] calls `client` has spent,
    /// for sessions that it had nothing of; what is left spent.
    ///
    /// # Errors
    /// [`Error::Usage`] if it has not spent so many. [`Error::State`] if the file cannot be used.
    pub fn refund(&self, client: &str, positions: u64) -> Result<u64, Error> {
        let (before, after) = self.store.transaction(|transaction| {
            let mut table = transaction.open_table(SPENT)?;
            let before = table.get(client)?.map_or(0, |spent| spent.value());
            let after = before.checked_sub(positions);
            if let Some(after) = after {
                table.insert(client, after)?;
            }
            Ok((before, after))
        })?;
        after.ok_or_else(|| Error::Usage(format!("{client} has spent {before} positions, not {positions}")))
    }

    /// Whether [`Budget::spend`] would do, as things stand.
    ///
    /// # Errors
    /// As [`Budget::spend`].
    pub fn afford(&self, client: &Identity, positions: u64) -> Result<(), Error> {
        let left = self.left(client)?;
        if positions <= left { Ok(()) } else { Err(self.too_few(positions, left)) }
    }

    fn too_few(&self, positions: u64, left: u64) -> Error {
        Error::Peer(PeerError::PeerIncompatible(format!(
            "the batch has {positions} positions, but of this client's budget of {} only {left} are left",
            self.positions
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Identity {
        Identity::address(address.parse().unwrap())
    }

    #[test]
    fn what_is_spent_stays_spent_for_each_client_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("budget.redb");
        let (ann, bob) = (client("192.0.2.1"), client("192.0.2.2"));
        Budget::open(&path, 100).unwrap().spend(&ann, 70).unwrap();
        // As after a restart.
        let budget = Budget::open(&path, 100).unwrap();
        assert_eq!((budget.left(&ann).unwrap(), budget.left(&bob).unwrap()), (30, 100));
        let error = budget.spend(&ann, 31).unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("budget of 100 only 30 are left"), "{error}");
        // A refused session costs nothing, and what fits exactly is served.
        budget.spend(&ann, 30).unwrap();
        assert!(budget.spend(&ann, 1).is_err());
        budget.spend(&bob, 100).unwrap();
        let entries = [("address 192.0.2.1".to_owned(), 100), ("address 192.0.2.2".to_owned(), 100)];
        assert_eq!(budget.spent().unwrap(), entries);
        assert_eq!(budget.refund("address 192.0.2.1", 5).unwrap(), 95);
        budget.spend(&ann, 5).unwrap();
        for (who, positions) in [("address 192.0.2.1", 101), ("address 192.0.2.3", 1)] {
            assert_eq!(budget.refund(who, positions).unwrap_err().exit_code(), 2);
        }
        assert_eq!(Budget::open(&path, 120).unwrap().left(&ann).unwrap(), 20);
        assert_eq!(Budget::open(&path, 50).unwrap().left(&ann).unwrap(), 0);
        assert!(Budget::open(&path, u64::MAX).unwrap().spend(&ann, u64::MAX).is_err());
    }

    #[test]
    fn an_identity_is_no_choice_of_the_clients() {
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:2"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("2001:db8::1").to_string(), "network 2001:db8::/64");
    }
}
