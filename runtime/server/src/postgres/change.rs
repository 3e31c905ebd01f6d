//! One change of what a client has spent: a statement that makes it, once, with a row that says so.

use fusion_runtime::{Change, Error};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

/// If there are enough left, they are spent: the row of a client is locked from its look to its
/// change, so that others who spend wait.
const SPEND: &str = "WITH paid AS (
    INSERT INTO fusion.budgets AS b (client, spent)
    SELECT $1, $2 WHERE $2 <= $4
    ON CONFLICT (client) DO UPDATE SET spent = b.spent + excluded.spent
        WHERE b.spent <= $4 - excluded.spent
    RETURNING spent
), noted AS (
    INSERT INTO fusion.admissions (id, client, positions) SELECT CAST($3 AS uuid), $1, $2 FROM paid
) SELECT spent FROM paid";

/// Those of a refund are negative.
const REFUND: &str = "WITH paid AS (
    UPDATE fusion.budgets SET spent = spent - $2 WHERE client = $1 AND spent >= $2 RETURNING spent
), noted AS (
    INSERT INTO fusion.admissions (id, client, positions) SELECT CAST($3 AS uuid), $1, -$2 FROM paid
) SELECT spent FROM paid";

/// Nothing is counted in between: what is gone is added in the same statement.
const ADOPT: &str = "WITH gone AS (
    DELETE FROM fusion.budgets WHERE client = ANY($2) AND client <> $1 RETURNING spent
), noted AS (
    UPDATE fusion.admissions SET client = $1 WHERE client = ANY($2)
) INSERT INTO fusion.budgets AS b (client, spent)
    SELECT $1, CAST(sum(spent) AS bigint) FROM gone HAVING count(*) > 0
    ON CONFLICT (client) DO UPDATE SET spent = b.spent + excluded.spent";

const NOTED: &str = "SELECT FROM fusion.admissions WHERE id = CAST($1 AS uuid)";
const SPENT: &str = "SELECT spent FROM fusion.budgets WHERE client = $1";
const ALL: &str = "SELECT client, spent FROM fusion.budgets ORDER BY client COLLATE \"C\"";

/// What is to be changed.
pub struct Ask<'a> {
    /// Its number, by which it is known whether it was made.
    pub id: String,
    pub client: &'a str,
    pub positions: i64,
    /// The most that may be spent afterwards; `None` gives back.
    limit: Option<i64>,
}

impl Ask<'_> {
    /// To spend, within `limit` in all.
    pub fn spend(client: &str, positions: u64, limit: u64) -> Result<Ask<'_>, Error> {
        Ask::new(client, positions, Some(i64::try_from(limit).unwrap_or(i64::MAX)))
    }

    /// To give back.
    pub fn refund(client: &str, positions: u64) -> Result<Ask<'_>, Error> {
        Ask::new(client, positions, None)
    }

    /// Whether it spends, and does not give back.
    pub fn spends(&self) -> bool {
        self.limit.is_some()
    }

    fn new(client: &str, positions: u64, limit: Option<i64>) -> Result<Ask<'_>, Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let too_many = |_| Error::Usage(format!("{positions} positions are more than a database counts"));
        Ok(Ask { id, client, positions: i64::try_from(positions).map_err(too_many)?, limit })
    }
}

/// Makes a change, unless it turns out that it was made. `again` says that an earlier attempt may
/// have been.
pub async fn make(database: &Client, ask: &Ask<'_>, again: bool) -> Result<Change, tokio_postgres::Error> {
    if again && is_noted(database, ask).await? {
        return Ok(Change::Made(spent(database, ask.client).await?));
    }
    let mut values: Vec<(&(dyn ToSql + Sync), Type)> =
        vec![(&ask.client, Type::TEXT), (&ask.positions, Type::INT8), (&ask.id, Type::TEXT)];
    let statement = match &ask.limit {
        Some(limit) => {
            values.push((limit, Type::INT8));
            SPEND
        }
        None => REFUND,
    };
    match database.query_typed(statement, &values).await {
        Ok(rows) => match rows.first() {
            Some(row) => Ok(Change::Made(count(row, 0)?)),
            // The earlier attempt may have been made just now, and taken what was left.
            None if again && is_noted(database, ask).await? => Ok(Change::Made(spent(database, ask.client).await?)),
            None => Ok(Change::Refused(spent(database, ask.client).await?)),
        },
        // It has this number, and was made just now.
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            Ok(Change::Made(spent(database, ask.client).await?))
        }
        Err(error) => Err(error),
    }
}

/// What `client` has spent.
pub async fn spent(database: &Client, client: &str) -> Result<u64, tokio_postgres::Error> {
    let rows = database.query_typed(SPENT, &[(&client, Type::TEXT)]).await?;
    rows.first().map_or(Ok(0), |row| count(row, 0))
}

/// Adds what `former` have spent to what `client` has, and leaves them nothing.
pub async fn adopt(database: &Client, client: &str, former: &[String]) -> Result<(), tokio_postgres::Error> {
    database.query_typed(ADOPT, &[(&client, Type::TEXT), (&former, Type::TEXT_ARRAY)]).await.map(drop)
}

/// Everyone who has spent anything, with how much.
pub async fn all(database: &Client) -> Result<Vec<(String, u64)>, tokio_postgres::Error> {
    let rows = database.query_typed(ALL, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, count(row, 1)?))).collect()
}

/// A count, which the tables keep from being negative.
fn count(row: &Row, column: usize) -> Result<u64, tokio_postgres::Error> {
    row.try_get::<_, i64>(column).map(i64::unsigned_abs)
}

async fn is_noted(database: &Client, ask: &Ask<'_>) -> Result<bool, tokio_postgres::Error> {
    Ok(!database.query_typed(NOTED, &[(&ask.id, Type::TEXT)]).await?.is_empty())
}
