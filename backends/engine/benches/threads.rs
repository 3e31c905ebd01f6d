//! How linear layers, comparisons and oblivious transfers gain by threads.
//! `cargo bench -p fusion-backends --bench threads [-- MOST-THREADS] [PART-OF-NAME]...`
//!
//! Both parties run in this process and take turns: one computes, on a pool of so many threads,
//! while the other waits for it. So times are those of a party that has the processors for itself,
//! and each party's gain is seen by itself. Set-up is not in them.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use chacha20::ChaCha20Rng;
use fusion_backends::channel::{LocalChannel, pair};
use fusion_backends::cheetah::compare::{Ctx, run};
use fusion_backends::cheetah::linear::{Workspace, client, server};
use fusion_backends::ot::{Correlations, Generator};
use fusion_backends::rlwe::{ClientKey, PublicKey};
use fusion_backends::{Channel, Error, Kind};

use fusion_catalogue::cheetah::Packing;
use fusion_catalogue::compare::Comparison;
use fusion_catalogue::linear::Geometry;
use fusion_catalogue::ot::{Ferret, OtSource};
use fusion_ir::Party;
use fusion_ir::types::mask;
use rand_core::{Rng, SeedableRng};

const ACC_BITS: u8 = 28;
/// Runs of each, of which the fastest counts.
const RUNS: usize = 5;

fn main() {
    let form = fusion_catalogue::cpu::from_environment().unwrap_or_else(|refused| panic!("{refused}"));
    let here = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut most, mut parts) = (here, Vec::new());
    for argument in std::env::args().skip(1).filter(|argument| argument != "--bench") {
        match argument.parse() {
            Ok(threads) => most = threads,
            Err(_) => parts.push(argument),
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("kernels: {}; {here} processors; load before: {}", form.name(), load.trim());
    println!("{:<34} {:>7} {:>10} {:>6} {:>10} {:>6}", "", "threads", "client ms", "gain", "server ms", "gain");
    let counts: Vec<usize> = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n <= most).collect();
    for (name, work) in works() {
        if !parts.is_empty() && !parts.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let mut alone = None;
        for threads in &counts {
            let times = measure(*threads, &*work).map(|time| time.as_secs_f64());
            let alone = *alone.get_or_insert(times);
            let gain = |party: usize| alone[party] / times[party];
            let [client_ms, server_ms] = times.map(|seconds| 1e3 * seconds);
            println!("{name:<34} {threads:>7} {client_ms:>10.2} {:>6.2} {server_ms:>10.2} {:>6.2}", gain(0), gain(1));
        }
    }
}

/// What one party does at its end of a connection: sets itself up, and gives what is measured.
type Work = dyn Fn(Party, TakingTurns) -> Box<dyn FnMut() + Send> + Sync;

fn works() -> Vec<(String, Box<Work>)> {
    let conv = |channels, size, outputs, kernel: usize| Geometry {
        input: [channels, size, size],
        outputs,
        kernel: [kernel; 2],
        strides: [1; 2],
        pads: [kernel / 2; 4],
        dilations: [1; 2],
        groups: 1,
    };
    let mut works: Vec<(String, Box<Work>)> = Vec::new();
    for (positions, geometry) in [(8, conv(128, 28, 128, 3)), (1, conv(256, 14, 256, 3)), (1, conv(256, 14, 1024, 1))] {
        let ([channels, size, _], outputs, [kernel, _]) = (geometry.input, geometry.outputs, geometry.kernel);
        let name = format!("{kernel}x{kernel} {channels}-{outputs} at {size}, {positions} positions");
        works.push((name, Box::new(move |party, channel| linear(party, channel, &geometry, positions))));
    }
    for (name, supply) in [("SoftSpoken", OtSource::default()), ("silent b12", OtSource::Silent(Ferret::B12))] {
        let tiles = if let OtSource::Silent(set) = supply { set.round_tiles() } else { 1 << 13 };
        let rows = move |party, channel| ots(party, channel, supply, tiles);
        works.push((format!("{name}, {} k rows one way", tiles * 128 / 1000), Box::new(rows)));
    }
    for (name, supply) in [("SoftSpoken", OtSource::default()), ("silent", OtSource::Silent(Ferret::B12))] {
        let compare = move |party, channel| comparison(party, channel, supply);
        works.push((format!("requant_relu of 2^16, {name}"), Box::new(compare)));
    }
    works
}

fn linear(party: Party, mut channel: TakingTurns, geometry: &Geometry, positions: usize) -> Box<dyn FnMut() + Send> {
    let packing = Packing::of(geometry, ACC_BITS).expect("a shape within the limits");
    let share = random(positions * geometry.input_len(), 1 + party as u64, ACC_BITS);
    match party {
        Party::Client => {
            let mut keys: Vec<ClientKey> = (0..positions).map(|_| ClientKey::generate().expect("randomness")).collect();
            for key in &keys {
                channel.send(Kind::PublicKeys, key.public().to_vec()).expect("a peer");
            }
            Box::new(move || drop(client(&mut channel, &packing, &mut keys, &share).expect("an honest peer")))
        }
        Party::Server => {
            let bytes = ClientKey::generate().expect("randomness").public().len();
            let mut key = || PublicKey::decode(&channel.receive(Kind::PublicKeys, bytes).expect("a peer"));
            let keys: Vec<PublicKey> = (0..positions).map(|_| key().expect("a key")).collect();
            let weight = random(geometry.weight_len(), 3, 12).into_iter().map(|w| w as i64 - (1 << 11)).collect();
            let (weight, mut workspace): (Vec<i64>, _) = (weight, Workspace::default());
            Box::new(move || {
                let workspace = &mut workspace;
                drop(server(&mut channel, &packing, &keys, workspace, &share, &weight, None).expect("a peer"));
            })
        }
    }
}

/// The client receives.
fn ots(party: Party, mut channel: TakingTurns, supply: OtSource, tiles: u64) -> Box<dyn FnMut() + Send> {
    let mut correlations = Correlations::establish(party, &mut channel, &[1; 32], supply).expect("an honest peer");
    Box::new(move || correlations.discard(&mut channel, [tiles, 0]).expect("an honest peer"))
}

/// Correlations included.
fn comparison(party: Party, channel: TakingTurns, supply: OtSource) -> Box<dyn FnMut() + Send> {
    let [mut online, mut offline] = channel.two();
    let correlations = Correlations::establish(party, &mut offline, &[1; 32], supply).expect("an honest peer");
    let mut correlations = Generator::on_demand(correlations, Box::new(offline));
    let share = random(1 << 16, 1 + party as u64, ACC_BITS);
    let operation = Comparison::RequantRelu { bits: ACC_BITS, shift: 12, k: 16 };
    Box::new(move || {
        let mut ctx = Ctx { party, channel: &mut online, correlations: &mut correlations, leaves: 3.into() };
        drop(run(&mut ctx, &operation, &[&share]).expect("an honest peer"));
    })
}

fn random(n: usize, seed: u64, bits: u8) -> Vec<u64> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.next_u64() & mask(bits)).collect()
}

/// How long each party computed, on pools of so many threads.
fn measure(threads: usize, work: &Work) -> [Duration; 2] {
    let (turn, ready) = (Turn::default(), std::sync::Barrier::new(2));
    let turn: &'static Turn = Box::leak(Box::new(turn));
    let (online, offline) = (pair(), pair());
    let side = |party: Party, online, offline| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            turn.take(party);
            let mut run = work(party, TakingTurns { party, turn, inner: online, other: Some(offline) });
            // Once, since the first time touches new memory.
            run();
            turn.give();
            let mut best = Duration::MAX;
            for _ in 0..RUNS {
                ready.wait();
                turn.take(party);
                turn.reset(party);
                run();
                turn.give();
                best = best.min(turn.held(party));
                ready.wait();
            }
            best
        })
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| side(Party::Server, online.1, offline.1));
        [side(Party::Client, online.0, offline.0), server.join().expect("the server")]
    })
}

/// Which party may compute, and how long each did.
#[derive(Default)]
struct Turn {
    state: Mutex<Held>,
    free: Condvar,
}

#[derive(Default)]
struct Held {
    since: Option<(Party, Instant)>,
    held: [Duration; 2],
}

impl Turn {
    fn take(&self, party: Party) {
        let mut state = self.state.lock().expect("no panic");
        while state.since.is_some() {
            state = self.free.wait(state).expect("no panic");
        }
        state.since = Some((party, Instant::now()));
    }

    fn give(&self) {
        let mut state = self.state.lock().expect("no panic");
        if let Some((party, since)) = state.since.take() {
            state.held[party as usize] += since.elapsed();
        }
        self.free.notify_one();
    }

    fn reset(&self, party: Party) {
        self.state.lock().expect("no panic").held[party as usize] = Duration::ZERO;
    }

    fn held(&self, party: Party) -> Duration {
        self.state.lock().expect("no panic").held[party as usize]
    }
}

/// A channel whose party lets the other one compute while it waits for a message.
struct TakingTurns {
    party: Party,
    turn: &'static Turn,
    inner: LocalChannel,
    other: Option<LocalChannel>,
}

impl TakingTurns {
    /// This one, and another one beside it.
    fn two(mut self) -> [TakingTurns; 2] {
        let inner = self.other.take().expect("a second connection");
        let other = TakingTurns { party: self.party, turn: self.turn, inner, other: None };
        [self, other]
    }
}

impl Channel for TakingTurns {
    fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Error> {
        self.inner.send(kind, payload)
    }

    fn receive(&mut self, kind: Kind, payload_bytes: usize) -> Result<Vec<u8>, Error> {
        self.turn.give();
        let message = self.inner.receive(kind, payload_bytes);
        self.turn.take(self.party);
        message
    }
}
