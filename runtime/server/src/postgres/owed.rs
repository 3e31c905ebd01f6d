//! Changes that may have been made for sessions that were refused, and are to be undone.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::Client;
use tokio_postgres::types::Type;
use tracing::{info, warn};

use super::change::Ask;
use super::trouble::Trouble;
use super::within;

/// Takes the change's number, unless it was made: whenever it arrives, however late, the number is
/// not free and it fails as a whole.
const VOID: &str = "INSERT INTO fusion.admissions (id, client, positions) VALUES (CAST($1 AS uuid), $2, 0)
    ON CONFLICT (id) DO NOTHING RETURNING id";

/// Undoes one that was made. Its number stays taken: it may have been sent twice.
const UNDO: &str = "WITH made AS (
    SELECT id, client, positions FROM fusion.admissions WHERE id = CAST($1 AS uuid) AND positions <> 0 FOR UPDATE
), void AS (
    UPDATE fusion.admissions AS a SET positions = 0 FROM made WHERE a.id = made.id
) UPDATE fusion.budgets AS b SET spent = greatest(b.spent - made.positions, 0)
    FROM made WHERE b.client = made.client RETURNING b.client";

/// Most changes that are remembered.
const MOST: usize = 10_000;

/// All of them, the oldest first.
#[derive(Default)]
pub struct Owed {
    entries: Mutex<VecDeque<Entry>>,
    /// Whoever settles them.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Entry {
    id: String,
    client: String,
    positions: i64,
}

impl Owed {
    /// Remembers that `ask` may have been done, for nothing.
    pub fn add(&self, ask: &Ask<'_>) {
        let (client, positions) = (ask.client, ask.positions);
        let mut entries = self.entries();
        if entries.len() >= MOST {
            warn!(client, positions, "too much is to be given back: what may be spent for a refused session stays so");
            return;
        }
        entries.push_back(Entry { id: ask.id.clone(), client: client.to_owned(), positions });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Undoes all that were made, and sees to it that the others never are; ends at what fails,
    /// with which the next time does not begin.
    pub async fn settle(&self, database: &Client) -> Result<(), Trouble> {
        let _turn = self.turn.lock().await;
        loop {
            let Some(entry) = self.entries().front().cloned() else { return Ok(()) };
            let made = within(async { Ok(settle(database, &entry).await?) }).await;
            let mut entries = self.entries();
            match made {
                Ok(made) => {
                    entries.pop_front();
                    let (client, positions) = (entry.client, entry.positions);
                    if made {
                        info!(client, positions, "given back what was spent for a session that was refused");
                    }
                }
                Err(why) => {
                    entries.rotate_left(1);
                    return Err(why);
                }
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the change had been made, which it is no longer.
async fn settle(database: &Client, entry: &Entry) -> Result<bool, tokio_postgres::Error> {
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&entry.id, Type::TEXT), (&entry.client, Type::TEXT)];
    if !database.query_typed(VOID, &values).await?.is_empty() {
        return Ok(false);
    }
    Ok(!database.query_typed(UNDO, &values[..1]).await?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let owed = Owed::default();
        let ask = Ask::spend("ann", 1, 2).unwrap();
        (0..=MOST).for_each(|_| owed.add(&ask));
        assert_eq!(owed.len(), MOST);
    }
}
