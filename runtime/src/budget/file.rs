//! Budgets in a file of one machine.

use std::path::Path;

use redb::{ReadableTable, TableDefinition};

use super::store::{BudgetStore, Change};
use crate::Error;
use crate::store::Store;

const SPENT: TableDefinition<&str, u64> = TableDefinition::new("positions spent");

/// A file that processes of one machine may share. What is spent is on disk when a method returns.
#[derive(Clone, Debug)]
pub struct BudgetFile(Store);

impl BudgetFile {
    /// The file at `path`, which is made if there is none.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be used.
    pub fn open(path: &Path) -> Result<BudgetFile, Error> {
        let file = BudgetFile(Store::new(path)?);
        file.0.transaction(|transaction| Ok(transaction.open_table(SPENT).map(drop)?))?;
        Ok(file)
    }

    /// Changes what `client` has spent to what `change` makes of it, if anything.
    fn change(&self, client: &str, change: impl FnOnce(u64) -> Option<u64>) -> Result<Change, Error> {
        self.0.transaction(|transaction| {
            let mut table = transaction.open_table(SPENT)?;
            let before = table.get(client)?.map_or(0, |spent| spent.value());
            let Some(after) = change(before) else { return Ok(Change::Refused(before)) };
            table.insert(client, after)?;
            Ok(Change::Made(after))
        })
    }
}

impl BudgetStore for BudgetFile {
    fn spent(&self, client: &str) -> Result<u64, Error> {
        self.0
            .transaction(|transaction| Ok(transaction.open_table(SPENT)?.get(client)?.map_or(0, |spent| spent.value())))
    }

    fn all(&self) -> Result<Vec<(String, u64)>, Error> {
        self.0.transaction(|transaction| {
            let table = transaction.open_table(SPENT)?;
            let entry = |entry: (redb::AccessGuard<'_, &str>, redb::AccessGuard<'_, u64>)| {
                (entry.0.value().to_owned(), entry.1.value())
            };
            table.iter()?.map(|found| Ok(entry(found?))).collect()
        })
    }

    fn spend(&self, client: &str, positions: u64, limit: u64) -> Result<Change, Error> {
        self.change(client, |spent| spent.checked_add(positions).filter(|after| *after <= limit))
    }

    fn refund(&self, client: &str, positions: u64) -> Result<Change, Error> {
        self.change(client, |spent| spent.checked_sub(positions))
    }

    fn adopt(&self, client: &str, former: &[String]) -> Result<(), Error> {
        self.0.transaction(|transaction| {
            let mut table = transaction.open_table(SPENT)?;
            let mut theirs = 0u64;
            for other in former.iter().filter(|other| *other != client) {
                let spent = table.remove(other.as_str())?.map_or(0, |spent| spent.value());
                theirs = theirs.saturating_add(spent);
            }
            if theirs > 0 {
                let own = table.get(client)?.map_or(0, |spent| spent.value());
                table.insert(client, own.saturating_add(theirs))?;
            }
            Ok(())
        })
    }
}
