//! How work that is not split by its nature is shared among the threads of the pool that the caller
//! belongs to.

/// Parts for each thread, so that those that are done early find more.
const PARTS: usize = 2;

/// Elements from which on another thread gains more than it costs, a multiple of 64. The tests of
/// this crate split far less, so that small examples go through what is split.
pub(crate) const WORTHWHILE: usize = if cfg!(test) { 64 } else { 1 << 13 };

/// Runs `work` on a thread of the pool if there are several: from elsewhere every splitting would
/// wait for one. It must not wait for a peer.
pub(crate) fn on_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match rayon::current_num_threads() {
        1 => work(),
        _ => rayon::scope(|_| work()),
    }
}

/// How many of `n` equal pieces of work make a part of it: all of them for a single thread, else
/// not fewer than `least`.
pub(crate) fn part(n: usize, least: usize) -> usize {
    match rayon::current_num_threads() {
        1 => n.max(1),
        threads => n.div_ceil(PARTS * threads).max(least),
    }
}

/// The least number of items for a thread, given to rayon's `with_min_len`, where each item is some
/// work on `n` elements: so many that they stay together if that is little.
pub(crate) fn items(n: usize) -> usize {
    if n < WORTHWHILE { usize::MAX } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_thread_has_one_part_and_many_have_enough() {
        let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(with(1).install(|| (part(100, 8), part(0, 8))), (100, 1));
        assert_eq!(with(4).install(|| (part(100, 8), part(1000, 8), part(0, 8))), (13, 125, 8));
    }

    #[test]
    fn what_waits_for_no_thread_runs_on_one_of_the_pool() {
        let inside = on_pool(|| rayon::current_thread_index().is_some());
        assert_eq!(inside, rayon::current_num_threads() > 1);
    }
}
