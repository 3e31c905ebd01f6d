//! Non-linear layers: activations per second, and bytes. `cargo bench -p fusion-backends --bench nonlinear`
//!
//! Both parties run in this process, one thread each, over channels without delay. CPU time is each thread's own; the time over a
//! slow network is a model of it: CPU time of the slower party, plus exact bytes at the link's rate, plus rounds.

use std::time::{Duration, Instant};

use fusion_backends::Channel;
use fusion_backends::channel::pair;
use fusion_backends::compare::{Ctx, run};
use fusion_backends::ot::Correlations;
use fusion_catalogue::Cost;
use fusion_catalogue::compare::Comparison;
use fusion_catalogue::ot::Supply;
use fusion_ir::Party;
use fusion_ir::types::{Sign, mask};

/// What a measurement took: wall time, and the CPU time of client and server.
struct Took {
    wall: Duration,
    cpu: [Duration; 2],
}

fn main() {
    println!("requant_relu by 12 bits to 16, and the extension back; correlations included");
    println!(
        "{:>3} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>9} {:>8} {:>12}",
        "acc", "wall s", "client s", "server s", "k/s", "OTs each", "bits each", "(online)", "rounds", "s, 400 Mbit/s"
    );
    for bits in [24, 28, 32, 37] {
        activations(bits, 3, 1 << 20);
    }
}

fn activations(bits: u8, leaf_bits: u8, n: usize) {
    let operations = [
        Comparison::RequantRelu { bits, shift: 12, k: 16.min(bits - 12) },
        Comparison::Extend { bits: 16.min(bits - 12), k: bits, sign: Sign::NonNegative },
    ];
    let share: Vec<u64> = (0..n as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask(bits)).collect();
    let took = measure(Supply::default(), |party, channel, correlations| {
        let mut share = share.clone();
        for operation in &operations {
            let ctx = &mut Ctx { party, channel: &mut *channel, correlations: &mut *correlations, leaf_bits };
            share = run(ctx, operation, &[&share]).expect("an honest peer").swap_remove(0);
        }
    });
    let (mut cost, mut online) = (Cost::default(), 0);
    for operation in &operations {
        cost.then(&operation.cost(leaf_bits, n));
        online += operation
            .chunks(n)
            .map(|chunk| operation.online(leaf_bits, chunk.len()))
            .map(|cost| cost.bytes(Party::Client) + cost.bytes(Party::Server))
            .sum::<u64>();
    }
    let each = |bytes: u64| 8.0 * bytes as f64 / n as f64;
    let bytes = [Party::Client, Party::Server].map(|party| cost.bytes(party));
    let [wall, client, server] = [took.wall, took.cpu[0], took.cpu[1]].map(|time| time.as_secs_f64());
    let wan = client.max(server) + bytes[0].max(bytes[1]) as f64 * 8.0 / 400e6 + cost.rounds() as f64 * 0.04;
    println!(
        "{bits:>3} {wall:>10.3} {client:>10.3} {server:>10.3} {:>10.0} {:>10.1} {:>10.1} {:>9.1} {:>8} {wan:>12.2}",
        n as f64 / wall / 1e3,
        (cost.client_receives_ots + cost.server_receives_ots) as f64 / n as f64,
        each(bytes[0] + bytes[1]),
        each(online),
        cost.rounds(),
    );
}

/// The fastest of three runs by both parties after set-up.
fn measure(supply: Supply, work: impl Fn(Party, &mut dyn Channel, &mut Correlations) + Sync) -> Took {
    let ready = std::sync::Barrier::new(2);
    let once = || {
        let (left, right) = pair();
        let side = |party, mut channel: fusion_backends::channel::LocalChannel| {
            let mut correlations =
                Correlations::establish(party, &mut channel, &[1; 32], supply).expect("an honest peer");
            ready.wait();
            let (started, before) = (Instant::now(), cpu_time());
            work(party, &mut channel, &mut correlations);
            (started.elapsed(), cpu_time() - before)
        };
        let (client, server) = std::thread::scope(|scope| {
            let server = scope.spawn(|| side(Party::Server, right));
            (side(Party::Client, left), server.join().expect("the server"))
        });
        Took { wall: client.0.max(server.0), cpu: [client.1, server.1] }
    };
    (0..3).map(|_| once()).min_by_key(|took| took.wall).expect("three runs")
}

/// CPU time of the calling thread; zero where the system does not tell.
fn cpu_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}
