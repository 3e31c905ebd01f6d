//! Every linear layer shape of ResNet-50: processor time and bytes of each party per image, one
//! thread each.
//!
//! `cargo bench -p fusion-backends --bench linear -- [--batch N]... [--layer PART-OF-NAME]...
//! [--pack]`
//!
//! With `--pack` the server packs results; keys for that come on top, once for each image.

use std::fs;
use std::thread;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use fusion_backends::channel::pair;
use fusion_backends::cheetah::linear::{Workspace, client, server};
use fusion_backends::ring::{DEGREE, Kernels, Operands, PRIMES, Poly, Spectrum, Sums};
use fusion_backends::rlwe::{ClientKey, PublicKey};
use fusion_catalogue::cheetah::{Packing, cost};
use fusion_catalogue::linear::Geometry;
use fusion_ir::types::mask;
use rand_core::{Rng, SeedableRng};

const ACC_BITS: u8 = 32;
const WEIGHT_BITS: u32 = 12;

fn main() {
    let form = fusion_catalogue::cpu::from_environment().unwrap_or_else(|refused| panic!("{refused}"));
    println!("kernels: {}", form.name());
    let (mut batches, mut parts, mut pack) = (Vec::new(), Vec::new(), false);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        if argument == "--pack" {
            pack = true;
            continue;
        }
        match (argument.as_str(), arguments.next()) {
            ("--batch", Some(batch)) => batches.push(batch.parse().expect("a batch size")),
            ("--layer", Some(part)) => parts.push(part),
            _ => panic!("usage: [--batch N]... [--layer PART-OF-NAME]... [--pack]"),
        }
    }
    if batches.is_empty() {
        batches = vec![1, 8, 32];
    }
    for batch in batches {
        println!("\nbatch {batch}, {ACC_BITS}-bit accumulators\n");
        println!("| layer | count | server ms | client ms | MB | G products/s |");
        println!("|---|---|---|---|---|---|");
        let (mut total, mut workspace) = (Measured::default(), Workspace::default());
        for (name, count, geometry) in resnet50() {
            if parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str())) {
                let measured = measure(&geometry, batch, pack, &mut workspace);
                measured.print(&name, count);
                total.add(&measured, count as f64);
            }
        }
        total.print("all", 1);
        println!("\nproducts alone, operands and kernels at hand: {:.1} G/s", multiplication_rate(batch));
        let [forth, back] = transform_us();
        println!("one transform modulo one prime: {forth:.1} us forth, {back:.1} us back");
        println!("peak memory of this process so far: {:.0} MiB", peak_memory_mib());
    }
}

/// Per image.
#[derive(Default)]
struct Measured {
    server_ms: f64,
    client_ms: f64,
    bytes: f64,
    products: f64,
}

impl Measured {
    fn add(&mut self, other: &Measured, times: f64) {
        self.server_ms += times * other.server_ms;
        self.client_ms += times * other.client_ms;
        self.bytes += times * other.bytes;
        self.products += times * other.products;
    }

    fn print(&self, name: &str, count: usize) {
        let Measured { server_ms, client_ms, bytes, products } = self;
        let rate = products / server_ms / 1e6;
        println!("| {name} | {count} | {server_ms:.1} | {client_ms:.1} | {:.2} | {rate:.1} |", bytes / 1e6);
    }
}

/// Names, how many there are, shapes.
fn resnet50() -> Vec<(String, usize, Geometry)> {
    let layer = |count, [channels, size, outputs, kernel, stride]: [usize; 5]| {
        let geometry = Geometry {
            input: [channels, size, size],
            outputs,
            kernel: [kernel; 2],
            strides: [stride; 2],
            pads: [kernel / 2; 4],
            dilations: [1; 2],
            groups: 1,
        };
        (format!("{kernel}x{kernel}/{stride} {channels}-{outputs} at {size}"), count, geometry)
    };
    let mut layers = vec![layer(1, [3, 224, 64, 7, 2]), layer(1, [64, 56, 64, 1, 1])];
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (width, size) = (64 << stage, 56 >> stage);
        let stride = if stage == 0 { 1 } else { 2 };
        let inputs = if stage == 0 { 64 } else { 2 * width };
        if stage > 0 {
            layers.push(layer(1, [inputs, size * 2, width, 1, 1]));
            layers.push(layer(1, [width, size * 2, width, 3, 2]));
        }
        layers.push(layer(1, [inputs, size * stride, 4 * width, 1, stride]));
        layers.push(layer(blocks, [width, size, 4 * width, 1, 1]));
        layers.push(layer(blocks - 1, [4 * width, size, width, 1, 1]));
        layers.push(layer(if stage == 0 { blocks } else { blocks - 1 }, [width, size, width, 3, 1]));
    }
    layers.push(("fully connected 2048-1000".into(), 1, Geometry::dense(2048, 1000)));
    layers
}

fn measure(geometry: &Geometry, batch: usize, pack: bool, workspace: &mut Workspace) -> Measured {
    let find = if pack { Packing::packed } else { Packing::of };
    let packing = find(geometry, ACC_BITS).expect("a shape within the limits");
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let elements = batch * geometry.input_len();
    let mut share = || (0..elements).map(|_| rng.next_u64() & mask(ACC_BITS)).collect::<Vec<_>>();
    let (client_share, server_share) = (share(), share());
    let weight: Vec<i64> = (0..geometry.weight_len()).map(|_| rng.next_u64() as i64 >> (64 - WEIGHT_BITS)).collect();
    let mut keys: Vec<ClientKey> = (0..batch).map(|_| ClientKey::generate().expect("randomness")).collect();
    let public = |key: &ClientKey| {
        let mut public = PublicKey::decode(key.public()).expect("a key");
        public.set_packing_keys(&key.packing_keys(packing.levels()), packing.levels()).expect("keys");
        public
    };
    let public: Vec<PublicKey> = keys.iter().map(public).collect();
    let (mut left, mut right) = pair();
    let (server_ms, client_ms) = thread::scope(|scope| {
        let server = scope.spawn(|| {
            processor_ms("server", || {
                server(&mut right, &packing, &public, workspace, &server_share, &weight, None).expect("a layer")
            })
        });
        let client = processor_ms("client", || client(&mut left, &packing, &mut keys, &client_share).expect("a layer"));
        (server.join().expect("the server's thread"), client)
    });
    let messages = cost(&packing, batch).messages;
    let bytes: u64 = messages.iter().map(|message| message.payload_bytes).sum();
    let products = packing.kernels() * packing.tiles() * 2 * PRIMES.len() * DEGREE;
    let images = batch as f64;
    Measured {
        server_ms: server_ms / images,
        client_ms: client_ms / images,
        bytes: bytes as f64 / images,
        products: products as f64,
    }
}

/// Products per nanosecond of processor time of the multiply-accumulate alone, for a layer of 64
/// products and 48 units.
fn multiplication_rate(batch: usize) -> f64 {
    const DEPTH: usize = 64;
    const UNITS: usize = 48;
    let rows: Vec<usize> = (0..batch).collect();
    let ones = || Spectrum::of(Poly::from_signed(&[1; DEGREE]));
    let (mut operands, mut kernels, mut sums) = (Operands::default(), Kernels::default(), Sums::default());
    operands.resize(batch, DEPTH);
    (0..batch * DEPTH).for_each(|pair| operands.set(pair, &[[ones(), ones()]]));
    kernels.set(UNITS, DEPTH, |_, _, _| ones());
    sums.resize(UNITS, batch);
    let best = (0..5)
        .map(|_| processor_ms("products", || sums.add_products(&operands, &rows, 0, &kernels)))
        .fold(f64::MAX, f64::min);
    (batch * DEPTH * UNITS * 2 * PRIMES.len() * DEGREE) as f64 / best / 1e6
}

/// Microseconds that a transform takes forth and back, the best of many.
fn transform_us() -> [f64; 2] {
    const REPEATS: usize = 100;
    const AT_ONCE: usize = 4;
    let mut polynomials = vec![Poly::from_signed(&[1; DEGREE]); AT_ONCE];
    let mut best = [f64::MAX; 2];
    let per_transform = |start: Instant| start.elapsed().as_secs_f64() * 1e6 / (AT_ONCE * PRIMES.len()) as f64;
    for _ in 0..REPEATS {
        let start = Instant::now();
        let spectra: Vec<Spectrum> = polynomials.drain(..).map(Spectrum::of).collect();
        best[0] = best[0].min(per_transform(start));
        let start = Instant::now();
        polynomials.extend(spectra.into_iter().map(Spectrum::into_poly));
        best[1] = best[1].min(per_transform(start));
    }
    best
}

/// Processor time of `work` on a thread of its own, by which name a profiler finds it.
fn processor_ms<T: Send>(name: &'static str, work: impl FnOnce() -> T + Send) -> f64 {
    let name = move |_| name.to_string();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(name).build().expect("a thread");
    pool.install(|| {
        let start = thread_ms();
        work();
        thread_ms() - start
    })
}

/// Processor time of this thread so far, in user and kernel.
fn thread_ms() -> f64 {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds: f64 = statistics.split(' ').next().and_then(|field| field.parse().ok()).expect("a time");
    nanoseconds / 1e6
}

fn peak_memory_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") / 1024.0
}
