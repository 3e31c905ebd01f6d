//! How a batch goes through the layers: cut into micro-batches, which are dealt to streams.

use std::ops::Range;

/// A batch in micro-batches, some of which are in flight at the same time.
///
/// Micro-batches are numbered from 0. All have `micro_batch` positions but the last, which may have
/// fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Positions in all.
    pub positions: u64,
    /// Most positions that go through the layers together, at least 1.
    pub micro_batch: u32,
    /// Micro-batches in flight, at least 1.
    pub streams: u8,
}

/// Numbers of micro-batches by size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whole ones.
    pub whole: u64,
    /// Whether a smaller one comes last.
    pub rest: bool,
}

impl Schedule {
    /// The largest micro-batch that clients choose by themselves: beyond it, what positions share
    /// no longer counts.
    pub const LARGEST_MICRO_BATCH: u32 = 64;
    /// Micro-batches in flight where memory holds no more.
    pub const USUAL_STREAMS: u8 = 2;
    /// Most micro-batches in flight.
    pub const MOST_STREAMS: u8 = 4;

    /// `positions` in micro-batches of at most `micro_batch`, of which at most `streams` are in
    /// flight and never more than there are.
    pub fn new(positions: u64, micro_batch: u32, streams: u8) -> Schedule {
        let micro_batch = micro_batch.clamp(1, u32::try_from(positions.max(1)).unwrap_or(u32::MAX));
        let most = positions.div_ceil(u64::from(micro_batch)).clamp(1, u64::from(u8::MAX)) as u8;
        Schedule { positions, micro_batch, streams: streams.clamp(1, most) }
    }

    /// `positions` as a client has them whose memory holds `streams` micro-batches of `largest`: in
    /// as few as that allows, all in one if they fit, and in flight as many as there are, equally
    /// much in each, but two at least.
    pub fn even(positions: u64, largest: u32, streams: u8) -> Schedule {
        let least = positions.div_ceil(u64::from(largest.max(1)));
        let streams = least.clamp(2, u64::from(streams.max(2))).min(u64::from(streams.max(1)));
        let count = if least > 1 { least.next_multiple_of(streams) } else { 1 };
        // Neither is more than what was given.
        Schedule::new(positions, positions.div_ceil(count) as u32, streams as u8)
    }

    /// One micro-batch by itself.
    pub fn single(positions: usize) -> Schedule {
        Schedule::new(positions as u64, u32::try_from(positions).unwrap_or(u32::MAX), 1)
    }

    /// How many micro-batches there are.
    pub fn micro_batches(&self) -> u64 {
        self.positions.div_ceil(self.micro_batch())
    }

    /// How many micro-batches of either size there are.
    pub fn counts(&self) -> Counts {
        self.count(self.micro_batches(), self.rest() > 0)
    }

    /// Positions of a whole micro-batch.
    pub fn whole(&self) -> usize {
        self.micro_batch() as usize
    }

    /// Positions of the smaller one that comes last; 0 if there is none.
    pub fn rest(&self) -> usize {
        (self.positions % self.micro_batch()) as usize
    }

    /// The positions of micro-batch number `number`.
    pub fn range(&self, number: usize) -> Range<usize> {
        let (most, end) = (self.whole(), self.positions as usize);
        (number * most).min(end)..((number + 1) * most).min(end)
    }

    /// The numbers of the micro-batches that stream `stream` runs, in order: they are dealt in
    /// turn.
    pub fn numbers(&self, stream: usize) -> impl ExactSizeIterator<Item = usize> + Clone + use<> {
        (stream..self.micro_batches() as usize).step_by(usize::from(self.streams.max(1)))
    }

    /// How many micro-batches of either size stream `stream` runs.
    pub fn dealt(&self, stream: usize) -> Counts {
        let numbers = self.numbers(stream);
        let last = self.micro_batches().wrapping_sub(1) as usize;
        let rest = self.rest() > 0 && numbers.clone().last() == Some(last);
        self.count(numbers.len() as u64, rest)
    }

    fn count(&self, all: u64, rest: bool) -> Counts {
        Counts { whole: all - u64::from(rest), rest }
    }

    fn micro_batch(&self) -> u64 {
        u64::from(self.micro_batch.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_get_equally_much_and_no_micro_batch_is_too_large() {
        for (positions, most, [micro_batch, streams]) in [
            (5, 2, [5, 1]),
            (64, 4, [64, 1]),
            (65, 2, [33, 2]),
            (65, 4, [33, 2]),
            (130, 1, [44, 1]),
            (130, 2, [33, 2]),
            (130, 4, [44, 3]),
            (200, 4, [50, 4]),
            (476, 2, [60, 2]),
            (476, 4, [60, 4]),
        ] {
            let expected = Schedule { positions, micro_batch, streams: streams as u8 };
            assert_eq!(Schedule::even(positions, 64, most), expected, "{positions} in {most}");
        }
        for positions in 1..300 {
            assert!((1..=7).contains(&Schedule::even(positions, 7, 4).micro_batch));
        }
    }

    /// Cards dealt one by one.
    #[test]
    fn every_position_has_one_micro_batch_and_every_micro_batch_one_stream() {
        for positions in 0..40 {
            for (micro_batch, streams) in [(1, 1), (1, 2), (4, 1), (4, 2), (4, 3), (7, 5), (50, 2)] {
                let schedule = Schedule { positions, micro_batch, streams };
                let mut hands = vec![Counts::default(); streams.into()];
                let mut numbers = vec![Vec::new(); streams.into()];
                let (mut number, mut left, mut start) = (0, positions, 0);
                while left > 0 {
                    let size = left.min(micro_batch.into());
                    assert_eq!(schedule.range(number), start..start + size as usize);
                    let hand = number % usize::from(streams);
                    numbers[hand].push(number);
                    match size == u64::from(micro_batch) {
                        true => hands[hand].whole += 1,
                        false => hands[hand].rest = true,
                    }
                    (number, left, start) = (number + 1, left - size, start + size as usize);
                }
                assert_eq!(schedule.micro_batches(), number as u64);
                assert_eq!(schedule.rest(), positions as usize % micro_batch as usize);
                for stream in 0..usize::from(streams) {
                    assert!(schedule.numbers(stream).eq(numbers[stream].iter().copied()));
                    assert_eq!(schedule.dealt(stream), hands[stream], "{schedule:?} stream {stream}");
                }
                let all = hands.iter().fold(Counts::default(), |all, hand| Counts {
                    whole: all.whole + hand.whole,
                    rest: all.rest || hand.rest,
                });
                assert_eq!(schedule.counts(), all);
            }
        }
    }

    #[test]
    fn there_are_no_streams_without_micro_batches() {
        assert_eq!(Schedule::new(5, 2, 9), Schedule { positions: 5, micro_batch: 2, streams: 3 });
        assert_eq!(Schedule::new(3, 64, 2), Schedule { positions: 3, micro_batch: 3, streams: 1 });
        assert_eq!(Schedule::new(0, 0, 0), Schedule { positions: 0, micro_batch: 1, streams: 1 });
    }
}
