//! Budgets in a file of one machine.

use std::path::Path;

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::store::{BudgetStore, Change};
use crate::Error;
use crate::store::Store;

const SPENT: TableDefinition<&str, u64> = TableDefinition::new("positions spent");
/// Under which name it is kept what a client of this one spends: programs that know clients by
/// other names share the file.
const KEPT_UNDER: TableDefinition<&str, &str> = TableDefinition::new("clients kept under another name");

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
        file.0.transaction(|transaction| Tables::of(transaction).map(drop))?;
        Ok(file)
    }

    /// Changes what `client` has spent to what `change` makes of it, if anything.
    fn change(&self, client: &str, change: impl FnOnce(u64) -> Option<u64>) -> Result<Change, Error> {
        self.0.transaction(|transaction| {
            let mut tables = Tables::of(transaction)?;
            let client = tables.name(client)?;
            let before = tables.spent(&client)?;
            let Some(after) = change(before) else { return Ok(Change::Refused(before)) };
            tables.spent.insert(client.as_str(), after)?;
            Ok(Change::Made(after))
        })
    }
}

impl BudgetStore for BudgetFile {
    fn spent(&self, client: &str) -> Result<u64, Error> {
        self.0.transaction(|transaction| {
            let tables = Tables::of(transaction)?;
            tables.spent(&tables.name(client)?)
        })
    }

    fn all(&self) -> Result<Vec<(String, u64)>, Error> {
        self.0.transaction(|transaction| {
            let table = Tables::of(transaction)?.spent;
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
            let mut tables = Tables::of(transaction)?;
            let client = tables.name(client)?;
            let mut spent = tables.spent(&client)?;
            for other in former.iter().filter(|other| **other != client) {
                let theirs = tables.spent.remove(other.as_str())?.map_or(0, |spent| spent.value());
                spent = spent.saturating_add(theirs);
                tables.kept_under.insert(other.as_str(), client.as_str())?;
            }
            if spent > 0 {
                tables.spent.insert(client.as_str(), spent)?;
            }
            Ok(())
        })
    }
}

/// What is in the file, in the course of a transaction.
struct Tables<'a> {
    spent: Table<'a, &'static str, u64>,
    kept_under: Table<'a, &'static str, &'static str>,
}

impl<'a> Tables<'a> {
    fn of(transaction: &'a WriteTransaction) -> Result<Tables<'a>, redb::Error> {
        Ok(Tables { spent: transaction.open_table(SPENT)?, kept_under: transaction.open_table(KEPT_UNDER)? })
    }

    /// The name under which it is kept what `client` spends. It comes to an end: an entry only ever
    /// leads to a name that has none.
    fn name(&self, client: &str) -> Result<String, redb::Error> {
        let mut name = client.to_owned();
        while let Some(next) = self.kept_under.get(name.as_str())?.map(|next| next.value().to_owned()) {
            name = next;
        }
        Ok(name)
    }

    /// What is spent under a name.
    fn spent(&self, name: &str) -> Result<u64, redb::Error> {
        Ok(self.spent.get(name)?.map_or(0, |spent| spent.value()))
    }
}
