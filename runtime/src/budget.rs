//! The server's query budget: how many positions each client may still have answered, across
//! sessions and restarts.
//!
//! A client that sees enough labels can train a copy of the model. The server cannot tell copies
//! and public samples from queries, so it counts positions. A session's positions are spent when it
//! starts, before anything but its size is known: a client that hangs up after it has its labels
//! has spent them too. What is spent stays spent when the limit changes.

mod file;
mod store;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fusion_backends::Error as PeerError;

pub use file::BudgetFile;
pub use store::{BudgetStore, Change};

use crate::Error;
use crate::transport::Identity;

/// The budgets of all clients.
#[derive(Clone, Debug)]
pub struct Budget {
    store: Arc<dyn BudgetStore>,
    positions: u64,
    /// Clients whose former selves have not been looked for yet.
    former: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl Budget {
    /// Gives each client `positions` positions, less what `store` says it has spent.
    pub fn new(store: Arc<dyn BudgetStore>, positions: u64) -> Budget {
        Budget { store, positions, former: Arc::default() }
    }

    /// The same, where a client may have been known as somebody else: what its former selves have
    /// spent, it has spent itself, from the first time that it is asked for.
    pub fn formerly(self, former: impl IntoIterator<Item = (Identity, Vec<Identity>)>) -> Budget {
        let text = |identity: Identity| identity.as_str().to_owned();
        let former = former.into_iter().map(|(client, former)| (text(client), former.into_iter().map(text).collect()));
        Budget { former: Arc::new(Mutex::new(former.collect())), ..self }
    }

    /// The same with the file at `path`.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be used.
    pub fn open(path: &Path, positions: u64) -> Result<Budget, Error> {
        Ok(Budget::new(Arc::new(BudgetFile::open(path)?), positions))
    }

    /// What `client` has left.
    ///
    /// # Errors
    /// [`Error::State`] if the store cannot be used.
    pub fn left(&self, client: &Identity) -> Result<u64, Error> {
        self.adopt(client.as_str())?;
        Ok(self.positions.saturating_sub(self.store.spent(client.as_str())?))
    }

    /// Everyone who has spent anything, as [`Identity`] shows it, with how much.
    ///
    /// # Errors
    /// [`Error::State`] if the store cannot be used.
    pub fn spent(&self) -> Result<Vec<(String, u64)>, Error> {
        self.store.all()
    }

    /// Spends `positions` of `client`'s budget, all or none; spent is what is kept when this
    /// returns.
    ///
    /// # Errors
    /// [`Error::Peer`], for the client to read, if it has too few left: it says how many.
    /// [`Error::State`] if the store cannot be used; then no session may start.
    pub fn spend(&self, client: &Identity, positions: u64) -> Result<(), Error> {
        self.adopt(client.as_str())?;
        match self.store.spend(client.as_str(), positions, self.positions)? {
            Change::Made(_) => Ok(()),
            Change::Refused(spent) => Err(self.too_few(positions, spent)),
        }
    }

    /// Gives back `positions` of what the client that [`Budget::spent`] calls `client` has spent,
    /// for sessions that it had nothing of; what is left spent.
    ///
    /// # Errors
    /// [`Error::Usage`] if it has not spent so many. [`Error::State`] if the store cannot be used.
    pub fn refund(&self, client: &str, positions: u64) -> Result<u64, Error> {
        self.adopt(client)?;
        match self.store.refund(client, positions)? {
            Change::Made(spent) => Ok(spent),
            Change::Refused(spent) => {
                Err(Error::Usage(format!("{client} has spent {spent} positions, not {positions}")))
            }
        }
    }

    /// Whether [`Budget::spend`] would do, as things stand.
    ///
    /// # Errors
    /// As [`Budget::spend`].
    pub fn afford(&self, client: &Identity, positions: u64) -> Result<(), Error> {
        self.adopt(client.as_str())?;
        let spent = self.store.spent(client.as_str())?;
        let fits = spent.checked_add(positions).is_some_and(|after| after <= self.positions);
        if fits { Ok(()) } else { Err(self.too_few(positions, spent)) }
    }

    fn adopt(&self, client: &str) -> Result<(), Error> {
        let former = || self.former.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(theirs) = former().get(client).cloned() else { return Ok(()) };
        self.store.adopt(client, &theirs)?;
        former().remove(client);
        Ok(())
    }

    fn too_few(&self, positions: u64, spent: u64) -> Error {
        Error::Peer(PeerError::PeerIncompatible(format!(
            "the batch has {positions} positions, but of this client's budget of {} only {} are left",
            self.positions,
            self.positions.saturating_sub(spent)
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
    fn what_a_client_has_spent_under_other_names_it_has_spent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("budget.redb");
        let [ann, old, older, bob] = ["ann", "old", "older", "bob"].map(Identity::named);
        let budget = Budget::open(&path, 100).unwrap();
        for (who, positions) in [(&ann, 1), (&old, 20), (&older, 30), (&bob, 7)] {
            budget.spend(who, positions).unwrap();
        }
        let budget = budget.formerly([(ann.clone(), vec![older.clone(), ann.clone(), old.clone()])]);
        assert!(budget.afford(&ann, 50).is_err());
        assert_eq!((budget.left(&ann).unwrap(), budget.left(&bob).unwrap()), (49, 93));
        let all = [("client ann".to_owned(), 51), ("client bob".to_owned(), 7)];
        assert_eq!(budget.spent().unwrap(), all);
        // A program that knows it by an old name goes on with the same budget, not with a new one.
        let other = Budget::open(&path, 100).unwrap();
        assert!(other.spend(&old, 50).is_err() && other.afford(&older, 50).is_err());
        other.spend(&old, 9).unwrap();
        assert_eq!([&ann, &old, &older].map(|who| other.left(who).unwrap()), [40; 3]);
        assert_eq!(other.refund("client older", 10).unwrap(), 50);
        assert_eq!((budget.left(&ann).unwrap(), budget.spent().unwrap()[0].1), (50, 50));
        // Names move on, to somebody else and in a circle, and nothing is forgotten.
        let moved = Budget::open(&path, 100).unwrap().formerly([(bob.clone(), vec![old.clone()])]);
        assert_eq!([&bob, &old, &older].map(|who| moved.left(who).unwrap()), [93, 93, 50]);
        let circle = Budget::open(&path, 100).unwrap();
        let circle = circle.formerly([(bob.clone(), vec![ann.clone()]), (ann.clone(), vec![bob.clone()])]);
        assert_eq!([&bob, &ann, &old, &older].map(|who| circle.left(who).unwrap()), [43; 4]);
        circle.spend(&ann, 43).unwrap();
        assert_eq!(circle.left(&bob).unwrap(), 0);
        // Adding up does not begin anew.
        let path = directory.path().join("full.redb");
        let full = Budget::open(&path, u64::MAX).unwrap();
        [&ann, &bob].iter().for_each(|who| full.spend(who, u64::MAX).unwrap());
        assert_eq!(full.formerly([(ann.clone(), vec![bob])]).left(&ann).unwrap(), 0);
    }

    #[test]
    fn an_identity_is_no_choice_of_the_clients() {
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:2"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("2001:db8::1").to_string(), "network 2001:db8::/64");
    }
}
