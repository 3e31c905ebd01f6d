//! What clients have spent of their budgets, and refunds.

use fusion_runtime::{Budget, Error};

use super::Config;

impl Config {
    /// What each client has spent and has left of its budget, as CSV: those of the configuration by
    /// name, then all others that the file knows.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no budget, [`Error::State`] if it cannot be used.
    pub fn budgets(&self) -> Result<String, Error> {
        let budget = self.budget()?.ok_or_else(|| Error::Usage("there is no [budget]".into()))?;
        let limit = self.budget.as_ref().map_or(0, |budget| budget.positions);
        let (known, spent) = (self.known()?, budget.spent()?);
        let name = |identity: &str| {
            let found = known.iter().find(|(_, profile)| profile.identity.to_string() == identity);
            found.map_or("", |(_, profile)| profile.name.as_str())
        };
        let mut lines = vec!["client,identity,spent,left".to_owned()];
        for (_, profile) in &known {
            let identity = profile.identity.to_string();
            if !spent.iter().any(|(other, _)| *other == identity) {
                lines.push(format!("{},{identity},0,{limit}", quoted(&profile.name)));
            }
        }
        let line = |(identity, spent): &(String, u64)| {
            format!("{},{identity},{spent},{}", quoted(name(identity)), limit.saturating_sub(*spent))
        };
        lines.extend(spent.iter().map(line));
        lines.dedup();
        Ok(lines.join("\n") + "\n")
    }

    /// Gives a client positions back, who is called as [`Config::budgets`] has it: by name or by
    /// identity. What there is to say about it.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no budget, or the client has not spent so many;
    /// [`Error::State`] if the budget cannot be used.
    pub fn refund(&self, client: &str, positions: u64) -> Result<String, Error> {
        let budget = self.budget()?.ok_or_else(|| Error::Usage("there is no [budget]".into()))?;
        let known = self.known()?;
        let named = known.iter().find(|(_, profile)| profile.name == client);
        let identity = named.map_or_else(|| client.to_owned(), |(_, profile)| profile.identity.to_string());
        let spent = budget.refund(&identity, positions)?;
        Ok(format!("{client} has {positions} positions back; {spent} are spent\n"))
    }

    /// The budget's file, opened.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be used.
    pub(super) fn budget(&self) -> Result<Option<Budget>, Error> {
        self.budget.as_ref().map(|budget| Budget::open(&budget.file, budget.positions)).transpose()
    }
}

/// A field of CSV.
fn quoted(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
