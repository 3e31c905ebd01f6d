//! What forecasts of time need to know of the world: the network between the parties ([`Network`])
//! and how fast their machines are ([`Machine`]).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use fusion_catalogue::cpu::Form;
use fusion_catalogue::{Cost, Primitive};
use serde::{Deserialize, Serialize};

/// A network: the same rate each way, and a round-trip time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Megabits per second, each way.
    pub mbit_per_s: f64,
    /// Milliseconds there and back.
    pub rtt_ms: f64,
}

/// Text that is no network profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network profile needs the line `{0} = N` with a positive number")]
pub struct NotANetwork(&'static str);

impl Network {
    /// 3 Gbit/s and 0.8 ms, the LAN of Cheetah (Huang et al., USENIX Security 2022, section 6).
    pub const LAN: Network = Network { mbit_per_s: 3000.0, rtt_ms: 0.8 };
    /// 400 Mbit/s and 40 ms, Cheetah's WAN.
    pub const WAN: Network = Network { mbit_per_s: 400.0, rtt_ms: 40.0 };

    /// The network that `lan` or `wan` names.
    pub fn named(name: &str) -> Option<Network> {
        match name {
            "lan" => Some(Network::LAN),
            "wan" => Some(Network::WAN),
            _ => None,
        }
    }

    /// Seconds that a byte takes the link.
    pub fn seconds_per_byte(&self) -> f64 {
        8.0 / (self.mbit_per_s * 1e6)
    }

    /// Seconds there and back.
    pub fn rtt_s(&self) -> f64 {
        self.rtt_ms / 1e3
    }
}

/// The lines that it is read from.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Network { mbit_per_s, rtt_ms } = self;
        write!(f, "mbit_per_s = {mbit_per_s:.3}\nrtt_ms = {rtt_ms:.3}\n")
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// Reads the lines `mbit_per_s = N` and `rtt_ms = N`; `#` begins a comment.
    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let number = |key: &'static str| {
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
            let mut values = lines.filter_map(|line| line.split_once('=')).filter(|(name, _)| name.trim() == key);
            let value: Option<f64> = values.next().and_then(|(_, value)| value.trim().parse().ok());
            value.filter(|value| value.is_finite() && *value > 0.0).ok_or(NotANetwork(key))
        };
        Ok(Network { mbit_per_s: number("mbit_per_s")?, rtt_ms: number("rtt_ms")? })
    }
}

/// How fast both parties' machines are: nanoseconds that each primitive adds to the time until a
/// layer is done.
///
/// Measured by running layers and explaining their times as sums of their [work](Cost::work), so
/// whatever surrounds a primitive is in it, as is what several threads save.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor, and what else should tell one profile from another.
    pub name: String,
    /// The kernels that were measured.
    pub form: Form,
    /// Threads of each party.
    pub threads: usize,
    /// How far off it is on the layers that it was made from: their median relative error.
    pub error: f64,
    /// Nanoseconds of each primitive; one that is missing costs nothing, see
    /// [`Machine::is_complete`].
    pub nanoseconds: BTreeMap<Primitive, f64>,
}

/// Why a profile says nothing of a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was measured on {measured}, here is {here}")]
pub struct NotOfThisMachine {
    measured: String,
    here: String,
}

impl Machine {
    /// Whether it knows every primitive: one that another version of the program measured may not.
    pub fn is_complete(&self) -> bool {
        Primitive::ALL.iter().all(|primitive| self.nanoseconds.contains_key(primitive))
    }

    /// Whether it was measured on such a processor, with these kernels and so many threads.
    ///
    /// # Errors
    /// If not, what is different.
    pub fn is_of(&self, processor: &str, form: Form, threads: usize) -> Result<(), NotOfThisMachine> {
        let text = |name: &str, form: Form, threads| format!("{name}, kernels {}, {threads} threads", form.name());
        let (measured, here) = (text(&self.name, self.form, self.threads), text(processor, form, threads));
        if measured == here { Ok(()) } else { Err(NotOfThisMachine { measured, here }) }
    }

    /// Seconds that the computations of `cost` take, messages not counted.
    pub fn seconds(&self, cost: &Cost) -> f64 {
        let nanoseconds = |primitive| self.nanoseconds.get(primitive).copied().unwrap_or(0.0);
        cost.work.iter().map(|(primitive, count)| *count as f64 * nanoseconds(primitive) * 1e-9).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_named_or_read() {
        assert_eq!(Network::named("wan"), Some(Network::WAN));
        assert_eq!(Network::named("moon"), None);
        let text = "# a tunnel\nrtt_ms = 12.5 # there and back\nmbit_per_s=80\n";
        assert_eq!(text.parse(), Ok(Network { mbit_per_s: 80.0, rtt_ms: 12.5 }));
        assert_eq!(Network::WAN.to_string().parse(), Ok(Network::WAN));
        assert_eq!("rtt_ms = 1".parse::<Network>(), Err(NotANetwork("mbit_per_s")));
        assert_eq!("rtt_ms = -1\nmbit_per_s = 3".parse::<Network>(), Err(NotANetwork("rtt_ms")));
        assert!((Network::WAN.seconds_per_byte() * 50e6 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn machines_survive_their_file() {
        let machine = Machine::default();
        let text = serde_json::to_string(&machine).unwrap();
        assert_eq!(serde_json::from_str::<Machine>(&text).unwrap(), machine);
        let mut cost = Cost::default();
        cost.send(fusion_ir::Party::Client, 100);
        cost.compute(Primitive::Kernel, 2);
        let expected = 2.0 * machine.nanoseconds[&Primitive::Kernel] + machine.nanoseconds[&Primitive::Message];
        assert!((machine.seconds(&cost) * 1e9 - expected).abs() < 1e-6);
    }

    #[test]
    fn profiles_are_of_one_processor_its_kernels_and_its_threads() {
        let machine = Machine { name: "Z".into(), form: Form::Avx2, threads: 2, ..Machine::default() };
        assert_eq!(machine.is_of("Z", Form::Avx2, 2), Ok(()));
        let why = machine.is_of("Z", Form::Avx2Vaes, 2).unwrap_err().to_string();
        assert_eq!(why, "it was measured on Z, kernels avx2, 2 threads, here is Z, kernels avx2-vaes, 2 threads");
        assert!(machine.is_of("Y", Form::Avx2, 2).is_err() && machine.is_of("Z", Form::Avx2, 3).is_err());
    }
}
