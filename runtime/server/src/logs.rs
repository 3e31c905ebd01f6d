//! Where log lines go: through a bounded queue to standard error. A reader that is slow, gone or
//! full costs lines, which are counted, and nothing else.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::{Log, LogFormat, LogLevel};

/// Lines that may wait to be written.
const QUEUE: usize = 1 << 13;
/// What of a peer's own text is written, in characters.
const FOREIGN: usize = 400;

/// Keeps the logs going; what is queued is written when it is dropped.
pub struct Logs {
    guard: Option<WorkerGuard>,
    level: reload::Handle<LevelFilter, Registry>,
    dropped: ErrorCounter,
    failed: Arc<AtomicU64>,
}

/// How many lines were lost.
#[derive(Clone)]
pub struct Lost {
    dropped: ErrorCounter,
    failed: Arc<AtomicU64>,
}

impl Logs {
    /// Begins, once in a process.
    pub fn begin(log: &Log) -> Logs {
        let failed = Arc::new(AtomicU64::new(0));
        let sink = Sink { failed: Arc::clone(&failed) };
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).thread_name("fusion-logs");
        let (writer, guard) = builder.finish(sink);
        let dropped = writer.error_counter();
        let (filter, level) = reload::Layer::new(filter(log.level));
        let lines = fmt::layer().with_writer(writer).with_ansi(false).with_target(false).log_internal_errors(false);
        let registry = tracing_subscriber::registry().with(filter);
        // It fails if there are logs already: then these go there.
        let _ = match log.format {
            LogFormat::Text => registry.with(lines).try_init(),
            LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        };
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            // A text that was put together may hold anything.
            let text = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("no fixed text");
            let thread = std::thread::current();
            tracing::error!(place, thread = thread.name().unwrap_or(""), "panic: {text}");
        }));
        Logs { guard: Some(guard), level, dropped, failed }
    }

    /// From now on lines of `level` are written.
    pub fn level(&self, level: LogLevel) {
        let _ = self.level.reload(filter(level));
    }

    /// The count of lost lines.
    pub fn lost(&self) -> Lost {
        Lost { dropped: self.dropped.clone(), failed: Arc::clone(&self.failed) }
    }
}

impl Lost {
    /// So many lines were not written.
    pub fn lines(&self) -> u64 {
        self.dropped.dropped_lines() as u64 + self.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let guard = self.guard.take();
        // It prints if the last lines cannot be written, and panics if it cannot print.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(guard)));
    }
}

/// Standard error, which never fails.
struct Sink {
    failed: Arc<AtomicU64>,
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if io::stderr().write_all(line).is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error's text, in which a peer may have had its say: one line, not too long, nothing that a
/// terminal obeys.
pub fn tame(error: &impl std::fmt::Display) -> String {
    error.to_string().chars().take(FOREIGN).flat_map(char::escape_debug).collect::<String>().replace("\\\"", "\"")
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_is_one_harmless_line() {
        assert_eq!(tame(&"it refused: \"no\""), "it refused: \"no\"");
        assert_eq!(tame(&"a\nb\u{1b}[2Jc"), "a\\nb\\u{1b}[2Jc");
        assert_eq!(tame(&"x".repeat(9999)).len(), FOREIGN);
    }
}
