//! Network profiles for forecasts.

use std::path::Path;
use std::str::FromStr;

use super::read;
use crate::Error;

/// Bandwidth each way and round-trip time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Network {
    /// Megabits per second, each way.
    pub mbit_per_s: f64,
    /// Milliseconds there and back.
    pub rtt_ms: f64,
}

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
    /// The profile: `lan`, `wan`, or a file with the lines `mbit_per_s = N` and `rtt_ms = N`.
    pub fn resolve(&self) -> Result<Network, Error> {
        match self.0.as_str() {
            "lan" => Ok(Network { mbit_per_s: 3000.0, rtt_ms: 0.8 }),
            "wan" => Ok(Network { mbit_per_s: 400.0, rtt_ms: 40.0 }),
            file => parse(Path::new(file)),
        }
    }
}

impl Network {
    /// Seconds on the wire for messages of so many bytes each way and so many rounds; computation not counted.
    pub fn seconds(&self, bytes: u64, rounds: u64) -> f64 {
        bytes as f64 * 8.0 / (self.mbit_per_s * 1e6) + rounds as f64 * self.rtt_ms / 1e3
    }
}

fn parse(path: &Path) -> Result<Network, Error> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let number = |key: &str| {
        let line = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let mut values = line.filter_map(|line| line.split_once('=')).filter(|(name, _)| name.trim() == key);
        let value: Option<f64> = values.next().and_then(|(_, value)| value.trim().parse().ok());
        value.filter(|value| value.is_finite() && *value > 0.0).ok_or_else(|| Error::Input {
            path: path.into(),
            why: format!("a network profile needs the line `{key} = N` with a positive number"),
        })
    };
    Ok(Network { mbit_per_s: number("mbit_per_s")?, rtt_ms: number("rtt_ms")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles() {
        let wan = Choice("wan".into()).resolve().unwrap();
        assert!((wan.seconds(50_000_000, 25) - 2.0).abs() < 1e-9);
        assert!(matches!(Choice("no such file".into()).resolve(), Err(Error::Io { .. })));
    }
}
