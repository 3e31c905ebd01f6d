//! Shards at the same time, from one process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fusion_ir::Plan;

use super::{Answered, Shard};
use crate::executor::Step;
use crate::transport::{Met, Switch, Traffic};
use crate::{Error, Flow, Progress};

/// Runs each shard with its server, as `flow` says of each. The first failure ends all: why a batch
/// ends does not depend on a decrypted value, a share, or which position holds what, so neither
/// does when.
///
/// # Errors
/// [`Error::Shard`] says whose failure came first, and why.
pub(crate) fn run_together(
    shards: Vec<Shard>,
    met: Vec<Met>,
    plan: &Plan,
    flow: Flow,
    progress: &mut Progress<'_>,
) -> Result<Vec<Answered>, Error> {
    let count = shards.len();
    let pairs = shards.into_iter().zip(met);
    if count == 1 {
        return pairs.map(|(shard, Met { link, name, .. })| shard.run(link, &name, plan, flow, progress)).collect();
    }
    let (switch, failed) = (Switch::default(), Mutex::new(None));
    let board = Board { told: Mutex::new((progress, vec![Told::default(); count])) };
    let (failed, board, off) = (&failed, &board, &switch);
    let answered: Vec<Option<Answered>> = std::thread::scope(|scope| {
        let run = |(shard, met): (Shard, Met)| {
            let (name, met) = (met.name.clone(), off.connect(met));
            scope.spawn(move || {
                // Dropped by a panic too.
                let mut last = Last { off, well: false };
                let (at, failure) = (shard.number(), shard.failure(&name));
                let mut show = |step: Step<'_>| board.show(at, step);
                match met.and_then(|met| shard.run(met.link, &name, plan, flow, &mut show)) {
                    Ok(answered) => {
                        last.well = true;
                        Some(answered)
                    }
                    Err(error) => {
                        lock(failed).get_or_insert_with(|| failure(error));
                        None
                    }
                }
            })
        };
        let threads: Vec<_> = pairs.map(run).collect();
        let resume = |panic| std::panic::resume_unwind(panic);
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(resume)).collect()
    });
    match lock(failed).take() {
        Some(error) => Err(error),
        None => Ok(answered.into_iter().flatten().collect()),
    }
}

/// Ends all sessions with one that does not end well.
struct Last<'s> {
    off: &'s Switch,
    well: bool,
}

impl Drop for Last<'_> {
    fn drop(&mut self) {
        if !self.well {
            self.off.turn_off();
        }
    }
}

/// How far a shard has come.
#[derive(Clone, Copy, Default)]
struct Told {
    micro_batches: usize,
    done: usize,
    traffic: Traffic,
}

/// Where all shards say how far they are, for one who watches.
struct Board<'a, 'p> {
    told: Mutex<(&'a mut Progress<'p>, Vec<Told>)>,
}

impl Board<'_, '_> {
    /// Passes on what shard `number` is about to do, as part of the whole.
    fn show(&self, number: usize, step: Step<'_>) {
        let mut told = lock(&self.told);
        let (progress, all) = &mut *told;
        let Step { micro_batches, done, traffic, .. } = step;
        all[number] = Told { micro_batches, done, traffic };
        // Who has not begun has as many as who has, or about.
        let expected = |told: &Told| if told.micro_batches == 0 { micro_batches } else { told.micro_batches };
        let before: usize = all[..number].iter().map(expected).sum();
        let mut whole = Step {
            micro_batch: before + step.micro_batch,
            micro_batches: all.iter().map(expected).sum(),
            done: all.iter().map(|told| told.done).sum(),
            traffic: Traffic::default(),
            ..step
        };
        all.iter().for_each(|told| whole.traffic += told.traffic);
        progress(whole);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
