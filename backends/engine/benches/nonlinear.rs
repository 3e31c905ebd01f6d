//! Non-linear layers: exact requantisation with ReLU by 12 bits and the extension back, activations
//! per second and bytes.
//!
//!     cargo bench -p fusion-backends --bench nonlinear
//!     cargo bench -p fusion-backends --bench nonlinear -- acc=28 leaf=3 n=20
//!
//! The first runs every width, leaf and supply, over loopback and the slow link, the second some of
//! it.
//!
//! Both parties run in this process, one thread each. CPU time is each thread's own. The slow link
//! is emulated: each direction sends 400 Mbit/s, and what was sent arrives 20 ms later.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use fusion_backends::channel::expect;
use fusion_backends::cheetah::compare::{Ctx, draw, online};
use fusion_backends::ot::Generator;
use fusion_backends::{Channel, Error, Kind};
use fusion_catalogue::Cost;
use fusion_catalogue::compare::Comparison;
use fusion_catalogue::ot::{Ferret, OtPool, OtSource};
use fusion_ir::Party;
use fusion_ir::types::{Sign, mask};

const SLOW: Link = Link { bits_per_second: 400e6, delay: Duration::from_millis(20) };

fn main() {
    let form = fusion_catalogue::cpu::from_environment().unwrap_or_else(|refused| panic!("{refused}"));
    println!("kernels: {}", form.name());
    let chosen = |key: &str, all: &[u8]| -> Vec<u8> {
        let given = std::env::args().find_map(|arg| arg.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        given.map_or(all.to_vec(), |given| vec![given])
    };
    let (widths, leaves) = (chosen("acc", &[24, 28, 32, 37]), chosen("leaf", &[1, 2, 3, 4]));
    let n = 1usize << chosen("n", &[20])[0];
    println!(
        "{n} x requant_relu by 12 bits to 16 and the extension back; CPU seconds of each party, fastest of three runs"
    );
    println!(
        "{:>8} {:>3} {:>4} | {:>7} {:>7} {:>7} {:>7} {:>7} {:>6} | {:>6} {:>7} {:>7} | {:>7} {:>8}",
        "supply",
        "acc",
        "leaf",
        "wall s",
        "client",
        "server",
        "online",
        "online",
        "k/s",
        "OTs",
        "bits",
        "online",
        "rounds",
        "slow s"
    );
    let supplies = [("softspkn", OtSource::default()), ("silent", OtSource::Silent(Ferret::B12))];
    for (name, supply) in supplies.iter().filter(|(name, _)| !std::env::args().any(|arg| arg == format!("no-{name}"))) {
        for bits in &widths {
            for leaf_bits in &leaves {
                activations(name, *supply, *bits, *leaf_bits, n);
            }
        }
    }
}

fn activations(name: &str, supply: OtSource, bits: u8, leaf_bits: u8, n: usize) {
    let k = 16.min(bits - 12);
    let operations = [
        Comparison::RequantRelu { bits, shift: 12, k },
        Comparison::Extend { bits: k, k: bits, sign: Sign::NonNegative },
    ];
    let share: Vec<u64> = (0..n as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask(bits)).collect();
    let work = |party, channel: &mut dyn Channel, correlations: &mut Generator| {
        let mut online_cpu = Duration::ZERO;
        let mut share = share.clone();
        for operation in &operations {
            let mut result = Vec::with_capacity(n);
            for wave in operation.waves(n) {
                let ctx = &mut Ctx { party, channel, correlations, leaves: leaf_bits.into() };
                let pads = draw(ctx, operation, wave.len()).expect("an honest peer");
                let before = cpu_time();
                result.extend(online(ctx, pads, operation, &[&share[wave]]).expect("an honest peer").swap_remove(0));
                online_cpu += cpu_time() - before;
            }
            share = result;
        }
        online_cpu
    };
    let fast = (0..3).map(|_| measure(supply, None, &work)).min_by_key(|took| took.wall).expect("three runs");
    let slow = measure(supply, Some(SLOW), &work);
    let (mut cost, mut exchanged, mut stock) = (Cost::default(), Cost::default(), OtPool::new(supply));
    for operation in &operations {
        for wave in operation.waves(n) {
            for chunk in operation.chunks(wave.len()) {
                let need = operation.need(leaf_bits, chunk.len());
                cost.draw(need);
                cost.then(&stock.draw(&need));
            }
            cost.then(&operation.online(leaf_bits, wave.len()));
            exchanged.then(&operation.online(leaf_bits, wave.len()));
        }
    }
    let bits_each = |cost: &Cost| 8.0 * (cost.bytes(Party::Client) + cost.bytes(Party::Server)) as f64 / n as f64;
    println!(
        "{name:>8} {bits:>3} {leaf_bits:>4} | {:>7.3} {:>7.3} {:>7.3} {:>7.3} {:>7.3} {:>6.0} | {:>6.1} {:>7.1} {:>7.1} | {:>7} {:>8.2}",
        fast.wall.as_secs_f64(),
        fast.cpu[0].as_secs_f64(),
        fast.cpu[1].as_secs_f64(),
        fast.online[0].as_secs_f64(),
        fast.online[1].as_secs_f64(),
        n as f64 / fast.wall.as_secs_f64() / 1e3,
        (cost.client_receives_ots + cost.server_receives_ots) as f64 / n as f64,
        bits_each(&cost),
        bits_each(&exchanged),
        cost.rounds(),
        slow.wall.as_secs_f64(),
    );
}

/// What a measurement took: wall time, and the CPU time of client and server, in all and in online
/// phases.
struct Took {
    wall: Duration,
    cpu: [Duration; 2],
    online: [Duration; 2],
}

/// One run by both parties after set-up.
fn measure(
    supply: OtSource,
    link: Option<Link>,
    work: &(impl Fn(Party, &mut dyn Channel, &mut Generator) -> Duration + Sync),
) -> Took {
    let ready = std::sync::Barrier::new(2);
    let ends = || {
        let [(to_right, from_left), (to_left, from_right)] = [mpsc::channel(), mpsc::channel()];
        let end = |outgoing, incoming| End { outgoing, incoming, link, free: Instant::now() };
        (end(to_right, from_right), end(to_left, from_left))
    };
    let side = |party, mut channel: End, offline: End| {
        let mut correlations =
            Generator::establish(party, Box::new(offline), &[1; 32], supply).expect("an honest peer");
        ready.wait();
        let (started, before) = (Instant::now(), cpu_time());
        let online = work(party, &mut channel, &mut correlations);
        (started.elapsed(), cpu_time() - before, online)
    };
    let ((left, right), (left_offline, right_offline)) = (ends(), ends());
    let (client, server) = std::thread::scope(|scope| {
        let server = scope.spawn(|| side(Party::Server, right, right_offline));
        (side(Party::Client, left, left_offline), server.join().expect("the server"))
    });
    Took { wall: client.0.max(server.0), cpu: [client.1, server.1], online: [client.2, server.2] }
}

/// A network's rate and one-way delay.
#[derive(Clone, Copy)]
struct Link {
    bits_per_second: f64,
    delay: Duration,
}

/// One end of a connection inside this process, over a link if there is one.
struct End {
    outgoing: mpsc::Sender<(Kind, Vec<u8>, Instant)>,
    incoming: mpsc::Receiver<(Kind, Vec<u8>, Instant)>,
    link: Option<Link>,
    /// When what was sent so far has left.
    free: Instant,
}

impl Channel for End {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Error> {
        let mut arrives = Instant::now();
        if let Some(link) = self.link {
            let seconds = (payload.len() + 8) as f64 * 8.0 / link.bits_per_second;
            self.free = self.free.max(arrives) + Duration::from_secs_f64(seconds);
            arrives = self.free + link.delay;
        }
        self.outgoing.send((kind, payload, arrives)).map_err(|_| std::io::Error::other("hung up").into())
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        let (found, payload, arrives) = self.incoming.recv().map_err(std::io::Error::other)?;
        std::thread::sleep(arrives.saturating_duration_since(Instant::now()));
        expect(kind, payload_bytes, found, payload.len())?;
        Ok(payload)
    }
}

/// CPU time of the calling thread; zero where the system does not tell.
fn cpu_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}
