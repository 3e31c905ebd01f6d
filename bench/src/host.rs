//! What the operating system says about this machine and this process, where it says anything.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::record::{Host, Versions};

/// This machine; the load at the end is not known yet.
pub fn host() -> Host {
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.strip_suffix("kB")?.trim().parse().ok());
    Host {
        processor: fusion_catalogue::cpu::processor(),
        threads: threads(),
        memory_bytes: memory.map(|kibibytes: u64| kibibytes * 1024),
        system: format!("{} {}", std::env::consts::OS, word("/proc/sys/kernel/osrelease")),
        load: [load(), None],
        unix_time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
    }
}

/// This program.
pub fn versions() -> Versions {
    Versions {
        bench: env!("CARGO_PKG_VERSION").into(),
        commit: env!("BENCH_COMMIT").into(),
        rustc: env!("BENCH_RUSTC").into(),
        profile: env!("BENCH_PROFILE").into(),
        command: std::env::args().collect(),
    }
}

/// Processors that this process may use.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Load averages.
pub fn load() -> Option<[f64; 3]> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// Processor seconds of this process so far, in user and kernel.
pub fn cpu_s() -> Option<f64> {
    /// Linux counts in hundredths of a second here, on every architecture.
    const TICKS_PER_S: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses; user and kernel time are the 14th and
    // 15th.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_S)
}

/// The value of the first line `name : value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn word(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}
