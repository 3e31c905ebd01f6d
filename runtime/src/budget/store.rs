//! What keeps budgets has to do.

use std::fmt;

use crate::Error;

/// Where it is kept what clients have spent. Several processes may use one place at the same time,
/// on several machines if it allows that.
///
/// Every change is made once or not at all, by itself: no two of them together spend more than
/// either alone may. What a method says is spent stays spent whatever becomes of the process, of
/// the place's own and of the machine, as far as the place promises that.
pub trait BudgetStore: fmt::Debug + Send + Sync {
    /// What `client`, as [`Identity`](crate::Identity) shows it, has spent.
    ///
    /// # Errors
    /// [`Error::State`] if the place cannot be used.
    fn spent(&self, client: &str) -> Result<u64, Error>;

    /// Everyone who has spent anything, in the order of their bytes, with how much.
    ///
    /// # Errors
    /// [`Error::State`] if the place cannot be used.
    fn all(&self) -> Result<Vec<(String, u64)>, Error>;

    /// Spends `positions` if that makes at most `limit` in all, else nothing.
    ///
    /// # Errors
    /// [`Error::State`] if the place cannot be used, or does not say in time what has happened:
    /// then no session may start.
    fn spend(&self, client: &str, positions: u64, limit: u64) -> Result<Change, Error>;

    /// Takes back `positions` if so many are spent, else nothing.
    ///
    /// # Errors
    /// [`Error::State`] if the place cannot be used; if it does not say what has happened, the
    /// error says that they may be given back, since nobody can take that back unseen.
    fn refund(&self, client: &str, positions: u64) -> Result<Change, Error>;

    /// Adds what `former`, other names of `client`, have spent to what `client` has. Where programs
    /// that know it by one of these names use the place too, it counts for `client` from then on
    /// what they spend, ask for and give back.
    ///
    /// # Errors
    /// [`Error::State`] if the place cannot be used.
    fn adopt(&self, client: &str, former: &[String]) -> Result<(), Error>;
}

/// What has become of a change, and what is spent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Made(u64),
    /// It does not go, and nothing was changed.
    Refused(u64),
}
