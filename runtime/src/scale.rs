//! What a batch over many machines would take, simulated from the forecast of one session.
//!
//! Each machine of the client's runs one shard with a server of its own that is as fast. Machines
//! are not alike: a session takes its forecast times a factor of its own, and the batch ends with
//! the slowest. All clients may share one uplink, which carries everything once. What is left out:
//! what it takes to start workers, and servers that stop, each of which costs the whole batch. An
//! uplink is taken to carry bytes all the time while machines compute, so times are lower bounds.

use fusion_estimate::{Machine, Network, SessionTrace};
use fusion_ir::{Party, Plan};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::forecast::{Forecast, Predicted};
use crate::memory::Memory;
use crate::steps::resolve;
use crate::{Error, Flow};

/// The machines of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// From each to its server.
    pub network: Network,
    /// Of all clients together, in Mbit/s each way; `None` if it is no limit.
    pub uplink_mbit_per_s: Option<f64>,
    /// How unlike machines are: the standard deviation of the logarithm of a session's time, whose
    /// median is the forecast. Not negative.
    pub spread: f64,
}

/// What so many machines would take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scaled {
    /// Machines of the client's, and as many servers.
    pub machines: u64,
    /// Positions of the largest shard.
    pub positions: u64,
    /// Its session's forecast, in seconds.
    pub session_s: f64,
    /// Mean over fleets of the slowest session, in seconds.
    pub slowest_s: f64,
    /// What the shared uplink takes, in seconds; 0 without one.
    pub uplink_s: f64,
    /// Until the verdict, in seconds: the larger of the two.
    pub seconds: f64,
    /// Bytes of all sessions, both ways.
    pub bytes: u64,
    /// Forecast peak of a client's process.
    pub memory_bytes: u64,
}

/// Fleets that are drawn for a mean.
const TRIALS: usize = 200;

/// Positions of a session whose bytes are counted exactly; those of longer ones are extrapolated.
const LONG: u64 = 1 << 11;

/// A batch of `positions` positions on each number of `machines` like `machine`.
///
/// # Errors
/// [`Error::Usage`] if there are more machines than positions or none, or the fleet makes no sense;
/// those of [`Flow::size`].
pub fn scale(
    plan: &Plan,
    flow: Flow,
    positions: u64,
    machines: &[u64],
    machine: &Machine,
    fleet: Fleet,
) -> Result<Vec<Scaled>, Error> {
    let uplink = fleet.uplink_mbit_per_s.unwrap_or(f64::INFINITY);
    if fleet.spread.is_nan() || !(0.0..=3.0).contains(&fleet.spread) || uplink.is_nan() || uplink <= 0.0 {
        return Err(Error::Usage("a spread is between 0 and 3, and an uplink's rate positive".into()));
    }
    let steps = resolve(&plan.function)?;
    let memory = Memory::new(&steps);
    let on = |machines: u64| {
        if machines == 0 || machines > positions {
            return Err(Error::Usage(format!("{positions} positions cannot be cut into {machines} shards")));
        }
        let (largest, smaller) = (positions.div_ceil(machines), positions / machines);
        let of = |positions: u64| {
            let size = flow.size(&steps, positions as usize)?;
            let seconds = SessionTrace::new(&steps, size.schedule, size.keys).seconds(machine, fleet.network);
            // Of a long session what of a short one each further position takes.
            let exact = |positions: u64| -> Result<Predicted, Error> {
                Ok(Forecast::new(&steps, flow.size(&steps, positions as usize)?).predicted)
            };
            let predicted = match positions {
                0..=LONG => exact(positions)?,
                _ => beyond(exact(LONG / 2)?, exact(LONG)?, positions),
            };
            Ok::<_, Error>((seconds, predicted, memory.peak_bytes(Party::Client, size)))
        };
        let (session_s, most, memory_bytes) = of(largest)?;
        let (_, least, _) = of(smaller)?;
        let larger = positions - smaller * machines;
        let sum = |of: fn(&Predicted) -> u64| larger * of(&most) + (machines - larger) * of(&least);
        let (up, down) = (sum(|predicted| predicted.client_to_server), sum(|predicted| predicted.server_to_client));
        let slowest_s = session_s * slowest(machines, fleet.spread);
        let uplink_s = up.max(down) as f64 * 8.0 / (uplink * 1e6);
        let seconds = slowest_s.max(uplink_s);
        let bytes = up + down;
        Ok(Scaled { machines, positions: largest, session_s, slowest_s, uplink_s, seconds, bytes, memory_bytes })
    };
    machines.iter().copied().map(on).collect()
}

/// What a session of so many positions exchanges, by one of [`LONG`] and one of half of that.
fn beyond(half: Predicted, long: Predicted, positions: u64) -> Predicted {
    let more = (positions - LONG) as f64 / (LONG / 2) as f64;
    let of = |half: u64, long: u64| long + (more * long.saturating_sub(half) as f64) as u64;
    Predicted {
        client_to_server: of(half.client_to_server, long.client_to_server),
        server_to_client: of(half.server_to_client, long.server_to_client),
        rounds: of(half.rounds, long.rounds),
    }
}

/// The mean over fleets of the largest of so many factors, whose logarithms are normal.
fn slowest(machines: u64, spread: f64) -> f64 {
    let mut rng = ChaCha20Rng::seed_from_u64(machines);
    let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    // Box and Muller's.
    let mut normal = || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    let mut fleet = || (0..machines).map(|_| normal()).fold(f64::NEG_INFINITY, f64::max);
    (0..TRIALS).map(|_| (spread * fleet()).exp()).sum::<f64>() / TRIALS as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny_plan;
    use fusion_catalogue::cpu::Form;

    const LAN: Network = Network { mbit_per_s: 1000.0, rtt_ms: 0.5 };

    fn scaled(positions: u64, machines: &[u64], fleet: Fleet) -> Result<Vec<Scaled>, Error> {
        scale(&tiny_plan(), Flow::default(), positions, machines, &Machine::built_in(Form::Portable), fleet)
    }

    #[test]
    fn alike_machines_take_what_one_session_takes_and_bytes_add_up() {
        let fleet = Fleet { network: LAN, uplink_mbit_per_s: None, spread: 0.0 };
        let all = scaled(100_000, &[1, 3, 1000, 100_000], fleet).unwrap();
        for one in &all {
            assert_eq!((one.seconds, one.slowest_s, one.uplink_s), (one.session_s, one.session_s, 0.0));
        }
        assert_eq!(all.iter().map(|one| one.positions).collect::<Vec<_>>(), [100_000, 33_334, 100, 1]);
        assert!(all.windows(2).all(|pair| pair[1].seconds < pair[0].seconds && pair[1].bytes > pair[0].bytes));
        // As the parts' own forecasts have it.
        let steps = resolve(&tiny_plan().function).unwrap();
        let bytes = |positions| {
            let size = Flow::default().size(&steps, positions).unwrap();
            let Predicted { client_to_server, server_to_client, .. } = Forecast::new(&steps, size).predicted;
            client_to_server + server_to_client
        };
        let exact = (bytes(33_334) + 2 * bytes(33_333)) as f64;
        assert!((all[1].bytes as f64 / exact - 1.0).abs() < 0.02, "{} {exact}", all[1].bytes);
        assert_eq!(all[2].bytes, 1000 * bytes(100));
    }

    #[test]
    fn the_slowest_of_many_is_as_order_statistics_have_it() {
        // Means of the largest of n standard normals, from tables (Harter 1961).
        for (machines, mean) in [(1, 0.0), (10, 1.538_75), (100, 2.507_59), (1000, 3.241_44)] {
            // For small spreads the factor's logarithm is the spread times that.
            let found = slowest(machines, 0.001).ln() / 0.001;
            assert!((found - mean).abs() < 0.25, "{machines}: {found} {mean}");
        }
        assert_eq!(slowest(50, 0.0), 1.0);
        let fleet = |spread| Fleet { network: LAN, uplink_mbit_per_s: None, spread };
        let [one, many] = [1, 1000].map(|machines| scaled(10_000, &[machines], fleet(0.3)).unwrap()[0]);
        assert!(many.slowest_s / many.session_s > 2.0 && one.slowest_s / one.session_s < 1.2);
    }

    #[test]
    fn a_shared_uplink_is_all_that_counts_in_the_end() {
        let fleet = Fleet { network: LAN, uplink_mbit_per_s: Some(100.0), spread: 0.0 };
        let all = scaled(100_000, &[1, 10_000], fleet).unwrap();
        assert_eq!(all[1].seconds, all[1].uplink_s);
        assert!(all[1].uplink_s > 8.0 * all[1].bytes as f64 / 2.0 / 100e6);
    }

    #[test]
    fn fleets_that_make_no_sense_are_refused() {
        let fleet = Fleet { network: LAN, uplink_mbit_per_s: None, spread: 0.0 };
        for (machines, fleet) in [
            (0, fleet),
            (11, fleet),
            (1, Fleet { spread: f64::NAN, ..fleet }),
            (1, Fleet { spread: -0.1, ..fleet }),
            (1, Fleet { uplink_mbit_per_s: Some(0.0), ..fleet }),
        ] {
            assert_eq!(scaled(10, &[machines], fleet).unwrap_err().exit_code(), 2);
        }
    }
}
