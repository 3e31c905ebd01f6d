//! What may be wrong with the database, and whether it passes.

use std::error::Error as _;
use std::fmt;
use std::io;

use tokio_postgres::error::{Severity, SqlState};
use tokio_rustls::rustls;

/// Why something was not done.
#[derive(Debug)]
pub enum Trouble {
    /// There was no answer in time.
    Late,
    /// A file of this side's, or the tables, do not do.
    Unfit(String),
    /// A host's name leads nowhere.
    Name(io::Error),
    /// None of several hosts: each with what is wrong.
    Nowhere(Vec<(String, Trouble)>),
    /// The connection or the database.
    Database(tokio_postgres::Error),
}

/// Classes of SQLSTATE for what passes: connections, a standby that takes no changes, transactions
/// that got into each other's way, resources, locks, ends and starts, the system's errors.
const PASSING: [&str; 9] = ["08", "25", "40", "53", "55", "57", "58", "XX", "54"];

/// Classes for what is wrong with the rows and values of one statement: their number, values,
/// constraints, other transactions.
const ROWS: [&str; 4] = ["21", "22", "23", "40"];

impl Trouble {
    /// Whether it stays as it is, whatever one waits.
    pub fn lasts(&self) -> bool {
        let error = match self {
            Trouble::Late | Trouble::Name(_) => return false,
            Trouble::Unfit(_) => return true,
            Trouble::Nowhere(hosts) => return hosts.iter().all(|(_, why)| why.lasts()),
            Trouble::Database(error) => error,
        };
        if let Some(code) = error.code() {
            return !PASSING.contains(&code.code().get(..2).unwrap_or_default());
        }
        match causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()) {
            Some(io) => io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
            None => !error.is_closed(),
        }
    }

    /// Whether the next attempt should have a new connection.
    pub fn is_of_the_connection(&self) -> bool {
        match self {
            Trouble::Late | Trouble::Name(_) | Trouble::Nowhere(_) => true,
            Trouble::Unfit(_) => false,
            Trouble::Database(error) => !is_of_the_statement(error) || error.code().is_some_and(is_read_only),
        }
    }

    /// Whether it says nothing of other clients: somebody holds a row, or a value does not do.
    pub fn is_of_its_rows(&self) -> bool {
        let Trouble::Database(error) = self else { return false };
        let Some(code) = error.code().filter(|_| is_of_the_statement(error)) else { return false };
        let class = code.code().get(..2).unwrap_or_default();
        ROWS.contains(&class) || [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED].contains(code)
    }
}

/// Whether the database refused a statement, which then has changed nothing. A connection that ends
/// may leave one behind that was done.
pub fn is_of_the_statement(error: &tokio_postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(tokio_postgres::error::DbError::parsed_severity);
    severity == Some(Severity::Error)
}

fn is_read_only(code: &SqlState) -> bool {
    *code == SqlState::READ_ONLY_SQL_TRANSACTION
}

fn causes(error: &tokio_postgres::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Trouble {
        Trouble::Database(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Late => f.write_str("no answer in time"),
            Trouble::Unfit(why) => f.write_str(why),
            Trouble::Name(why) => write!(f, "its name has no address: {why}"),
            Trouble::Nowhere(hosts) => hosts.iter().enumerate().try_for_each(|(number, (host, why))| {
                let comma = if number == 0 { "" } else { "; " };
                write!(f, "{comma}{host}: {why}")
            }),
            Trouble::Database(error) => match error.as_db_error() {
                // Without details, which hold values.
                Some(refused) => write!(f, "{}: {} ({})", refused.severity(), refused.message(), refused.code().code()),
                None => {
                    write!(f, "{error}")?;
                    causes(error).try_for_each(|cause| write!(f, ": {cause}"))
                }
            },
        }
    }
}
