//! Correlated and random OTs per second, and bits each.
//! `cargo bench -p fusion-backends --bench correlations [-- PART-OF-NAME]...`
//!
//! Both parties run in this process, one thread each, over channels without delay; malicious
//! security, set-up not counted. CPU time is each thread's own. *One way* the client receives all
//! OTs, *both ways* each party receives half of them.

use std::time::{Duration, Instant};

use fusion_backends::Error;
use fusion_backends::channel::{LocalChannel, pair};
use fusion_backends::ot::Correlations;
use fusion_catalogue::ot::{Ferret, OtCount, OtPool, OtSource, Ots, SoftSpoken, TILE_ROWS};
use fusion_ir::Party;

/// Tiles that are drawn at once.
const DRAW_TILES: u64 = 1 << 13;

fn main() {
    let form = fusion_catalogue::cpu::from_environment().unwrap_or_else(|refused| panic!("{refused}"));
    println!("kernels: {}", form.name());
    let soft_spoken = |k| (format!("SoftSpoken k={k}"), OtSource::SoftSpoken(SoftSpoken::new(k).expect("a parameter")));
    let silent = |name: &str, set| (format!("silent {name}"), OtSource::Silent(set));
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let wanted = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()));
    let supplies =
        [soft_spoken(2), soft_spoken(4), soft_spoken(8), silent("b11", Ferret::B11), silent("b12", Ferret::B12)];
    let supplies: Vec<_> = supplies.into_iter().filter(|(name, _)| wanted(name)).collect();
    println!("correlated OTs: rows, not hashed");
    header();
    for (name, supply) in &supplies {
        for both_ways in [false, true] {
            let draw = if both_ways { [DRAW_TILES / 2; 2] } else { [DRAW_TILES, 0] };
            measure(name, *supply, both_ways, draw, |_, channel, correlations| correlations.discard(channel, draw));
        }
    }
    println!("\nrandom OTs of one bit: rows and their hashes");
    header();
    for (name, supply) in &supplies {
        let ots = |tiles| Ots { bits: tiles * TILE_ROWS, ..Ots::default() };
        let draw = [DRAW_TILES / 2; 2];
        let need = OtCount { client_receives: ots(draw[0]), server_receives: ots(draw[1]) };
        measure(name, *supply, true, draw, |_, channel, correlations| correlations.draw(channel, &need).map(drop));
    }
}

fn header() {
    println!(
        "{:<15} {:<10} {:>9} {:>10} {:>14} {:>14}",
        "", "", "M/s wall", "bits each", "ns CPU client", "ns CPU server"
    );
}

/// The fastest of three runs of as many draws as use up a round of the largest set at least twice.
fn measure(
    name: &str,
    supply: OtSource,
    both_ways: bool,
    draw: [u64; 2],
    work: impl Fn(Party, &mut LocalChannel, &mut Correlations) -> Result<(), Error> + Sync,
) {
    let per_round = match supply {
        OtSource::Silent(set) => set.round_tiles(),
        OtSource::SoftSpoken(_) => 1 << 16,
    };
    let draws = (2 * per_round).div_ceil(draw[0]);
    let ready = std::sync::Barrier::new(2);
    let side = |party, mut channel: LocalChannel| {
        let mut correlations = Correlations::establish(party, &mut channel, &[1; 32], supply).expect("an honest peer");
        // The first round, and with it the base of the next ones.
        work(party, &mut channel, &mut correlations).expect("an honest peer");
        let mut best = [Duration::MAX; 2];
        for _ in 0..3 {
            ready.wait();
            let (started, before) = (Instant::now(), cpu_time());
            for _ in 0..draws {
                work(party, &mut channel, &mut correlations).expect("an honest peer");
            }
            let took = [started.elapsed(), cpu_time() - before];
            if took[0] < best[0] {
                best = took;
            }
        }
        best
    };
    let (left, right) = pair();
    let (client, server) = std::thread::scope(|scope| {
        let server = scope.spawn(|| pool().install(|| side(Party::Server, right)));
        (pool().install(|| side(Party::Client, left)), server.join().expect("the server"))
    });
    let n = (draws * (draw[0] + draw[1]) * TILE_ROWS) as f64;
    let mut stock = OtPool::new(supply);
    let need = |tiles| Ots { bits: tiles * TILE_ROWS, ..Ots::default() };
    let need = OtCount { client_receives: need(draw[0]), server_receives: need(draw[1]) };
    stock.draw(&need);
    let bytes: u64 =
        (0..3 * draws).map(|_| stock.draw(&need)).map(|c| c.bytes(Party::Client) + c.bytes(Party::Server)).sum();
    println!(
        "{name:<15} {:<10} {:>9.1} {:>10.3} {:>14.2} {:>14.2}",
        if both_ways { "both ways" } else { "one way" },
        n / client[0].max(server[0]).as_secs_f64() / 1e6,
        8.0 * bytes as f64 / (3.0 * n),
        client[1].as_secs_f64() / n * 1e9,
        server[1].as_secs_f64() / n * 1e9,
    );
}

/// A party's own.
fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread")
}

/// CPU time of the calling thread; zero where the system does not tell.
fn cpu_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}
