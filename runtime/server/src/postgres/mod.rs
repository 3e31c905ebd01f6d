//! Budgets in PostgreSQL, for replicas of a server that share them.
//!
//! A session is admitted by one statement, which spends its positions and leaves a row with a
//! number of its own: both or neither. When the connection breaks before the answer, the number
//! tells whether it was done, so nothing is spent twice; and what cannot be found out in time is
//! refused, and undone once the database can be asked again, or kept from being done later.

mod address;
mod change;
mod owed;
mod schema;
mod tls;
mod trouble;
mod turns;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fusion_runtime::{BudgetStore, Change, Error};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::logs::tame;
pub use address::Address;
use address::Link;
use change::Ask;
use owed::Owed;
use trouble::{Trouble, is_of_the_statement};
use turns::Turns;

/// What the statements of one attempt may take, or to wait for another one's new connection: much
/// more than one statement waits for a row.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long a change is tried, attempts that fail included.
const PATIENCE: Duration = Duration::from_secs(8);
/// What the last look may take.
const LAST: Duration = Duration::from_secs(10);
/// From one attempt to the next.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is seen whether the database answers, and how often while it does not.
const LOOK_EVERY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(1)];

/// Budgets in one database.
pub struct Postgres {
    shared: Arc<Shared>,
    turns: Turns,
    runtime: Runtime,
}

struct Shared {
    address: Address,
    /// The connection, if there is one. It carries statements of many sessions at the same time.
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
    /// Why the database cannot be used at the moment.
    away: Mutex<Option<String>>,
    /// What may be spent for sessions that were refused.
    owed: Owed,
}

impl Postgres {
    /// Those in the database at `address`, which need not be there yet. What the store needs of
    /// tables is made if there is none.
    ///
    /// # Errors
    /// [`Error::State`] if the database is there and cannot be used, whatever one waits.
    pub fn open(address: Address) -> Result<Postgres, Error> {
        let refuse = |why: String| Error::State { path: address.to_string(), why };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("fusion-postgres")
            .enable_all()
            .build()
            .map_err(|error| refuse(error.to_string()))?;
        let link = tokio::sync::Mutex::default();
        let shared = Shared { address: address.clone(), link, away: Mutex::default(), owed: Owed::default() };
        if let Err(why) = runtime.block_on(shared.link()) {
            if why.lasts() {
                return Err(refuse(why.to_string()));
            }
            *lock(&shared.away) = Some(why.to_string());
        }
        Ok(Postgres { shared: Arc::new(shared), turns: Turns::default(), runtime })
    }

    /// Why the database cannot be used at the moment, if so.
    pub fn away(&self) -> Option<String> {
        lock(&self.shared.away).clone()
    }

    /// From now on it is seen by itself whether the database answers.
    pub fn watch(&self) {
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            loop {
                let pause = LOOK_EVERY[usize::from(lock(&shared.away).is_some())];
                sleep(pause).await;
                shared.look().await;
            }
        });
    }

    /// A last look, once no more sessions start: what may have been spent for nothing is given
    /// back, or it is said that it stays spent.
    pub fn finish(&self) {
        if self.shared.owed.len() == 0 {
            return;
        }
        let looked = async { timeout(LAST, self.shared.look()).await };
        let _ = self.runtime.block_on(looked);
        let changes = self.shared.owed.len();
        if changes > 0 {
            warn!(database = %self.shared.address, changes, "ends without it: what may be spent for refused sessions stays so");
        }
    }

    /// Does what `act` says, more than once if the connection fails. It is told whether an earlier
    /// attempt may have been done already; so is the caller, if it fails.
    fn act<T>(&self, act: impl AsyncFn(&Link, bool) -> Result<T, tokio_postgres::Error>) -> Result<T, (Error, bool)> {
        let shared = &*self.shared;
        let refuse = |why: String| Error::State { path: shared.address.to_string(), why };
        // Who comes while it is away need not wait: that it is back is seen elsewhere.
        if let Some(why) = self.away() {
            return Err((refuse(why), false));
        }
        self.runtime.block_on(async {
            let (deadline, mut unclear) = (Instant::now() + PATIENCE, false);
            loop {
                let mut used = None;
                let attempt = async {
                    let link = Arc::clone(used.insert(shared.link().await?));
                    let before = std::mem::replace(&mut unclear, true);
                    let done = within(async { Ok(act(&link, before).await) }).await?;
                    // What the database refuses has changed nothing.
                    unclear = before || !done.as_ref().is_err_and(is_of_the_statement);
                    Ok(done?)
                };
                let why = match attempt.await {
                    Ok(done) => return Ok(done),
                    Err(why) => why,
                };
                spoil(used.as_ref(), &why);
                if why.lasts() || Instant::now() + PAUSE >= deadline {
                    if !why.is_of_its_rows() {
                        shared.is_away(Some(&why));
                    }
                    return Err((refuse(why.to_string()), unclear));
                }
                sleep(PAUSE).await;
            }
        })
    }

    /// As [`Postgres::act`], of what changes nothing.
    fn ask<T>(&self, act: impl AsyncFn(&Link) -> Result<T, tokio_postgres::Error>) -> Result<T, Error> {
        self.act(async |link: &Link, _| act(link).await).map_err(|(why, _)| why)
    }

    /// Makes a change once, or not at all.
    fn change(&self, ask: &Ask<'_>) -> Result<Change, Error> {
        let Some(_turn) = self.turns.wait(ask.client, PATIENCE) else {
            let why = "earlier changes of this client take too long".to_owned();
            return Err(Error::State { path: self.shared.address.to_string(), why });
        };
        let done = self.act(async |link: &Link, again| change::make(link, ask, again).await);
        done.map_err(|(error, unclear)| match error {
            error if unclear && ask.spends() => {
                self.shared.owed.add(ask);
                error
            }
            Error::State { path, why } if unclear => {
                Error::State { path, why: format!("{why}; it may have been given back: see what is spent") }
            }
            error => error,
        })
    }
}

impl Shared {
    /// The connection, a new one if there is none that stands.
    async fn link(&self) -> Result<Arc<Link>, Trouble> {
        let mut place = within(async { Ok(self.link.lock().await) }).await?;
        if let Some(link) = place.as_ref().filter(|link| link.stands()) {
            return Ok(Arc::clone(link));
        }
        let link = Arc::new(self.address.connect().await?);
        *place = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Remembers and logs whether the database can be used.
    fn is_away(&self, why: Option<&Trouble>) {
        let now = why.map(ToString::to_string);
        let before = std::mem::replace(&mut *lock(&self.away), now.clone());
        match (before, now) {
            (None, Some(why)) => warn!(database = %self.address, why = tame(&why), "no budgets: sessions are refused"),
            (Some(_), None) => info!(database = %self.address, "there are budgets again"),
            _ => {}
        }
    }

    /// Sees whether the database answers, and undoes what was done for sessions that were refused.
    async fn look(&self) {
        let mut used = None;
        let seen = async {
            let link = Arc::clone(used.insert(self.link().await?));
            within(async { Ok(link.batch_execute(schema::TRY).await?) }).await?;
            Ok(link)
        };
        let seen = seen.await;
        if let Err(why) = &seen {
            spoil(used.as_ref(), why);
        }
        self.is_away(seen.as_ref().err());
        let Ok(link) = seen else { return };
        if let Err(why) = self.owed.settle(&link).await {
            spoil(Some(&link), &why);
            if !why.is_of_its_rows() {
                self.is_away(Some(&why));
            }
        }
    }
}

/// Gives a connection up that may be why something failed.
fn spoil(link: Option<&Arc<Link>>, why: &Trouble) {
    if let Some(link) = link.filter(|_| why.is_of_the_connection()) {
        link.spoil();
    }
}

impl BudgetStore for Postgres {
    fn spent(&self, client: &str) -> Result<u64, Error> {
        self.ask(async |link: &Link| change::spent(link, client).await)
    }

    fn all(&self) -> Result<Vec<(String, u64)>, Error> {
        self.ask(async |link: &Link| change::all(link).await)
    }

    fn spend(&self, client: &str, positions: u64, limit: u64) -> Result<Change, Error> {
        self.change(&Ask::spend(client, positions, limit)?)
    }

    fn refund(&self, client: &str, positions: u64) -> Result<Change, Error> {
        self.change(&Ask::refund(client, positions)?)
    }

    fn adopt(&self, client: &str, former: &[String]) -> Result<(), Error> {
        self.ask(async |link: &Link| change::adopt(link, client, former).await)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("address", &self.shared.address).finish()
    }
}

/// Gives an attempt only so much time.
async fn within<T>(attempt: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    timeout(ATTEMPT, attempt).await.unwrap_or(Err(Trouble::Late))
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
