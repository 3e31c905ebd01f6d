//! The tables, and their version.

use tokio_postgres::{Client, GenericClient};

use super::trouble::Trouble;

/// What turns the tables of each version into those of the next, from none to version 1 first.
const STEPS: [&str; 1] = ["
CREATE TABLE fusion.version (version integer NOT NULL);
INSERT INTO fusion.version VALUES (0);
CREATE TABLE fusion.budgets (
    client text PRIMARY KEY,
    spent bigint NOT NULL CHECK (spent >= 0)
);
CREATE TABLE fusion.admissions (
    id uuid PRIMARY KEY,
    client text NOT NULL,
    positions bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON fusion.admissions (client);
CREATE VIEW fusion.clients AS
    SELECT b.client, b.spent, count(a.id) FILTER (WHERE a.positions > 0) AS sessions,
        coalesce(sum(a.positions), 0) AS admitted, max(a.at) AS latest
    FROM fusion.budgets AS b LEFT JOIN fusion.admissions AS a USING (client) GROUP BY b.client;
"];

/// What there is, asked of the tables of tables: what a session remembers of names may be old.
const SCHEMA: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'fusion')";
const TABLES: &str =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'fusion' AND tablename = 'version')";

/// Two replicas that begin at the same time take turns, however long one takes: any number of our
/// own.
const TURN: &str = "SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(7347216590183921)";

/// Nothing, with all rights that the statements need.
pub const TRY: &str = "
INSERT INTO fusion.budgets (client, spent) SELECT '', 0 WHERE false;
UPDATE fusion.budgets SET spent = spent WHERE false;
DELETE FROM fusion.budgets WHERE false;
INSERT INTO fusion.admissions (id, client, positions) SELECT id, client, positions FROM fusion.admissions WHERE false;
UPDATE fusion.admissions SET client = client WHERE false;
DELETE FROM fusion.admissions WHERE false;
";

/// Whether the tables are what this program needs, and may be used.
pub async fn is_made(client: &Client) -> Result<bool, Trouble> {
    if version(client).await? != STEPS.len() {
        return Ok(false);
    }
    client.batch_execute(TRY).await?;
    Ok(true)
}

/// Makes the tables what this program needs.
pub async fn make(client: &mut Client) -> Result<(), Trouble> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(TURN).await?;
    let before = version(&transaction).await?;
    let Some(steps) = STEPS.get(before..) else {
        let (know, why) = (STEPS.len(), "the tables in schema fusion are a newer server's");
        return Err(Trouble::Unfit(format!("{why}: version {before}, and this one knows {know}")));
    };
    let place = transaction.query_typed_one(SCHEMA, &[]).await?;
    if !place.try_get::<_, bool>(0)? {
        transaction.batch_execute("CREATE SCHEMA fusion").await?;
    }
    for step in steps {
        transaction.batch_execute(step).await?;
    }
    transaction.batch_execute(&format!("UPDATE fusion.version SET version = {}", STEPS.len())).await?;
    transaction.commit().await?;
    Ok(client.batch_execute(TRY).await?)
}

/// That of the tables; 0 is none.
async fn version(database: &impl GenericClient) -> Result<usize, Trouble> {
    let there = database.query_typed_one(TABLES, &[]).await?;
    if !there.try_get(0)? {
        return Ok(0);
    }
    let row = database.query_typed_one("SELECT version FROM fusion.version", &[]).await?;
    let version: i32 = row.try_get(0)?;
    usize::try_from(version).map_err(|_| Trouble::Unfit(format!("schema fusion has version {version}, which is none")))
}
