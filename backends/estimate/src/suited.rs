//! Which layers share keys, and whether they are computed ahead, where a client's user does not
//! say.

use fusion_catalogue::cpu::Form;
use fusion_catalogue::{Keys, Schedule, Steps};

use crate::{Machine, Network, SessionTrace};

/// The most positions of a batch whose linear layers are computed ahead unless its user asks for
/// it: of more, the server's own products with the weights cost more than is won.
pub const AHEAD_POSITIONS: u64 = 4;

/// Layers are computed ahead where that takes at most this part of the time: forecasts are off by
/// as much.
const AT_MOST: f64 = 0.8;

/// Layers ahead where one small micro-batch has nothing else to do while it waits and that is
/// forecast to be quicker on this network; else what [`Keys::of`] says. Of a network that is not
/// known nothing is forecast.
///
/// The forecast is for a built-in machine, so that whoever asks is told the same.
pub fn suited(steps: &Steps, schedule: Schedule, network: Option<Network>) -> Keys {
    let usual = Keys::of(steps);
    let alone = schedule.micro_batches() <= 1 && schedule.positions <= AHEAD_POSITIONS;
    let Some(network) = network.filter(|_| alone && steps.shared(Keys::Ahead).ahead.is_some()) else { return usual };
    let machine = Machine::built_in(Form::in_use());
    let seconds = |keys| SessionTrace::new(steps, schedule, keys).seconds(&machine, network);
    match seconds(Keys::Ahead) <= AT_MOST * seconds(usual) {
        true => Keys::Ahead,
        false => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Convolutions with a comparison after each.
    fn chain(convs: usize, backend: &str) -> Steps {
        let (ty, acc) = ("i16.0~9[32,16,16]", "i26.0~18[32,16,16]");
        let mut text = String::from("function \"f\"\nweight @w0 \"w\" : i8.0[32,32,3,3]\n");
        text += &format!("v0 = input : {ty} \"\"\n");
        for at in (1..=3 * convs).step_by(3) {
            text += &format!(
                "v{at} = extend v{} : i26.0~9[32,16,16] \"\"\n\
                 v{} = conv v{at}, @w0 strides=[1,1] pads=[1,1,1,1] dilations=[1,1] groups=1 : {acc} by {backend} \"\"\n\
                 v{} = requant_relu v{} shift=10 : i16.-10~9+[32,16,16] \"\"\n",
                at - 1,
                at + 1,
                at + 2,
                at + 1
            );
        }
        Steps::of(&fusion_ir::text::parse(&text).unwrap()).unwrap()
    }

    #[test]
    fn layers_go_ahead_where_a_small_batch_waits_for_a_slow_network() {
        let (steps, alone) = (chain(4, "cheetah"), Schedule::single(1));
        assert_eq!(suited(&steps, alone, Some(Network::WAN)), Keys::Ahead);
        // Nothing is known, or the network is as good as none.
        let loopback = Network { mbit_per_s: 20_000.0, rtt_ms: 0.05 };
        for network in [None, Some(loopback), Some(Network::LAN)] {
            assert_eq!(suited(&steps, alone, network), Keys::of(&steps), "{network:?}");
        }
        // Batches have something to do meanwhile.
        for schedule in [Schedule::single(AHEAD_POSITIONS as usize + 1), Schedule::new(4, 2, 2)] {
            assert_eq!(suited(&steps, schedule, Some(Network::WAN)), Keys::of(&steps), "{schedule:?}");
        }
        // There is nothing that could go ahead.
        assert_eq!(suited(&chain(4, "crypt_flow2-ot"), alone, Some(Network::WAN)), Keys::Position);
    }

    /// The forecast is what decides.
    #[test]
    fn what_goes_ahead_is_forecast_to_be_quicker() {
        let (steps, machine) = (chain(4, "cheetah"), Machine::built_in(Form::in_use()));
        let mut seen = [0, 0];
        for rtt_ms in [0.05, 0.8, 3.0, 10.0, 40.0, 100.0] {
            for mbit_per_s in [10.0, 50.0, 400.0, 3000.0] {
                let network = Network { mbit_per_s, rtt_ms };
                let of = |keys| SessionTrace::new(&steps, Schedule::single(1), keys).seconds(&machine, network);
                let chosen = suited(&steps, Schedule::single(1), Some(network));
                let [ahead, usual] = [of(Keys::Ahead), of(Keys::of(&steps))];
                assert_eq!(chosen == Keys::Ahead, ahead <= AT_MOST * usual, "{network:?}: {ahead} s, {usual} s");
                seen[usize::from(chosen == Keys::Ahead)] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
    }
}
