//! The progress bar: micro-batch, layer and bytes so far, on a terminal only.

use fusion_runtime::Step;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error, invisible if that is not a terminal.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar that is shown unless `quiet`.
    pub fn new(quiet: bool) -> Bar {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{bar:24} {percent:>3} % {elapsed:>4} {msg}");
        let bar = ProgressBar::with_draw_target(None, target);
        Bar(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Shows what is about to run.
    pub fn show(&self, step: Step<'_>) {
        self.0.set_length((step.micro_batches * step.layers) as u64);
        self.0.set_position(step.done as u64);
        let bytes = HumanBytes(step.traffic.sent_bytes + step.traffic.received_bytes);
        let batch = format!("{}/{}", step.micro_batch + 1, step.micro_batches);
        self.0.set_message(format!("micro-batch {batch}, {} {}, {bytes}", step.op, step.node));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
