//! What clients have spent of their budgets, and refunds.

use std::path::PathBuf;
use std::sync::Arc;

use fusion_runtime::{Budget, BudgetFile, BudgetStore, Error};
use serde::Deserialize;

use super::Config;
use super::clients::former;
use crate::postgres::{Address, Postgres};

/// Budgets of clients. Where they are kept is not reloaded.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfig {
    /// Positions of each client, over all plans, sessions and restarts.
    pub positions: u64,
    /// The file in which it is written what is spent.
    pub file: Option<PathBuf>,
    /// Or the database that replicas share, `postgresql://user@host/database`.
    pub postgres: Option<String>,
    /// The user's password there; by default that of the environment, `PGPASSWORD`.
    pub password_file: Option<PathBuf>,
    /// Who vouches for its host, certificates in PEM; needed unless that is this machine.
    pub authority: Option<PathBuf>,
    /// Allows a database on another machine without TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
}

/// Where budgets are kept.
#[derive(Clone)]
pub struct Kept {
    store: Arc<dyn BudgetStore>,
    /// If that is a database.
    pub database: Option<Arc<Postgres>>,
}

impl BudgetConfig {
    /// All paths.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.file.iter_mut().chain(&mut self.password_file).chain(&mut self.authority)
    }

    /// What can be seen of it by itself.
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.file, &self.postgres) {
            (Some(_), None) if self.password_file.is_some() || self.authority.is_some() || self.allow_plaintext => {
                Err("password_file, authority and allow_plaintext are of postgres".into())
            }
            (Some(_), None) => Ok(()),
            (None, Some(_)) => self.address().map(drop),
            _ => Err("file or postgres says where it is kept what is spent, one of them".into()),
        }
    }

    /// Whether it is kept in the same place.
    pub fn is_where(&self, other: &BudgetConfig) -> bool {
        let place = |budget: &BudgetConfig| {
            let BudgetConfig { file, postgres, password_file, authority, allow_plaintext, .. } = budget.clone();
            (file, postgres, password_file, authority, allow_plaintext)
        };
        place(self) == place(other)
    }

    fn address(&self) -> Result<Option<Address>, String> {
        let Some(text) = &self.postgres else { return Ok(None) };
        let (password_file, authority) = (self.password_file.clone(), self.authority.clone());
        let address = Address::parse(text, password_file, authority, self.allow_plaintext);
        address.map(Some).map_err(|why| format!("postgres: {why}"))
    }

    fn open(&self) -> Result<Kept, Error> {
        match (self.address().map_err(Error::Usage)?, &self.file) {
            (Some(address), _) => {
                let database = Arc::new(Postgres::open(address)?);
                Ok(Kept { store: Arc::clone(&database) as Arc<dyn BudgetStore>, database: Some(database) })
            }
            (None, Some(path)) => Ok(Kept { store: Arc::new(BudgetFile::open(path)?), database: None }),
            (None, None) => Err(Error::Bug("budgets are kept nowhere".into())),
        }
    }
}

impl Config {
    /// What each client has spent and has left of its budget, as CSV: those of the configuration by
    /// name, then all others that are known there.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no budget, [`Error::State`] if it cannot be used.
    pub fn budgets(&self) -> Result<String, Error> {
        let budget = self.own_budget()?;
        let limit = self.budget.as_ref().map_or(0, |budget| budget.positions);
        let (known, mut spent) = (self.known()?, budget.spent()?);
        let mut lines = vec!["client,identity,spent,left".to_owned()];
        let mut line = |name: &str, identity: &str, spent: u64| {
            let left = limit.saturating_sub(spent);
            lines.push(format!("{},{},{spent},{left}", quoted(name), quoted(identity)));
        };
        for (client, former) in former(&known) {
            let is_its = |who: &str| client.to_string() == who || former.iter().any(|other| other.to_string() == who);
            let (its, others) = spent.into_iter().partition(|(who, _)| is_its(who));
            let its: Vec<(String, u64)> = its;
            let name = known.iter().find(|(_, profile)| profile.identity == client);
            let name = name.map_or("", |(_, profile)| profile.name.as_str());
            line(name, &client.to_string(), its.iter().fold(0, |sum, (_, spent)| sum.saturating_add(*spent)));
            spent = others;
        }
        spent.iter().for_each(|(identity, spent)| line("", identity, *spent));
        Ok(lines.join("\n") + "\n")
    }

    /// Gives a client positions back, who is called as [`Config::budgets`] has it: by name or by
    /// identity. What there is to say about it.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no budget, or the client has not spent so many;
    /// [`Error::State`] if the budget cannot be used.
    pub fn refund(&self, client: &str, positions: u64) -> Result<String, Error> {
        let budget = self.own_budget()?;
        let known = self.known()?;
        let named = known.iter().find(|(_, profile)| profile.name == client);
        let identity = named.map_or_else(|| client.to_owned(), |(_, profile)| profile.identity.to_string());
        let spent = budget.refund(&identity, positions)?;
        Ok(format!("{client} has {positions} positions back; {spent} are spent\n"))
    }

    /// Where budgets are kept, opened. A database need not be there yet.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be used.
    pub fn kept(&self) -> Result<Option<Kept>, Error> {
        self.budget.as_ref().map(BudgetConfig::open).transpose()
    }

    /// What clients may spend of what is kept there.
    ///
    /// # Errors
    /// [`Error::Usage`] if clients are not told apart.
    pub(super) fn budget(&self, kept: Option<&Kept>) -> Result<Option<Budget>, Error> {
        let (Some(kept), Some(budget)) = (kept, &self.budget) else { return Ok(None) };
        let former = former(&self.known()?);
        Ok(Some(Budget::new(Arc::clone(&kept.store), budget.positions).formerly(former)))
    }

    fn own_budget(&self) -> Result<Budget, Error> {
        let budget = self.budget(self.kept()?.as_ref())?;
        budget.ok_or_else(|| Error::Usage("there is no [budget]".into()))
    }
}

/// A field of CSV.
fn quoted(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
