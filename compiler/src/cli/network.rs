//! The network that `--network` names.

use std::path::Path;
use std::str::FromStr;

use fusion_estimate::Network;

use super::measured::measured_here;
use super::read;
use crate::Error;

/// What `--network` names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice(String);

impl FromStr for Choice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Choice(text.into()))
    }
}

impl Choice {
    /// The profile: `lan`, `wan`, a file with the lines `mbit_per_s = N` and `rtt_ms = N`, or with
    /// `auto` the one that `fusion-run --doctor` wrote.
    pub fn resolve(&self) -> Result<Network, Error> {
        if let Some(network) = Network::named(&self.0) {
            return Ok(network);
        }
        let measured = if self.0 == "auto" { measured_here() } else { None };
        let measured = measured.map(|machine| machine.with_file_name("network.toml"));
        let path = measured.as_deref().unwrap_or(Path::new(&self.0));
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        text.parse()
            .map_err(|why: fusion_estimate::NotANetwork| Error::Input { path: path.into(), why: why.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles() {
        assert_eq!(Choice("wan".into()).resolve().unwrap(), Network::WAN);
        assert!(matches!(Choice("no such file".into()).resolve(), Err(Error::Io { .. })));
    }
}
