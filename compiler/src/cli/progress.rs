//! Progress bars on standard error, where that is a terminal.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::compile::Progress;

/// Runs `work` with something that shows how far its long steps are, one bar at a time.
pub(super) fn shown<T>(work: impl FnOnce(&Progress) -> T) -> T {
    let style = ProgressStyle::with_template("{prefix:<12} [{bar:30}] {pos} of {len} samples, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
    let bar = ProgressBar::new(0).with_style(style);
    let step = Mutex::new(String::new());
    let result = work(&|name, done, all| {
        let Ok(mut step) = step.lock() else { return };
        if *step != name {
            *step = name.into();
            bar.reset();
            bar.set_prefix(name.to_owned());
            bar.set_length(all as u64);
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        // Threads may be overtaken on their way here.
        bar.set_position(bar.position().max(done as u64));
    });
    bar.finish_and_clear();
    result
}
