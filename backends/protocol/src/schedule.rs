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
    /// `positions` in micro-batches of at most `micro_batch`, of which at most `streams` are in
    /// flight and never more than there are.
    pub fn new(positions: u64, micro_batch: u32, streams: u8) -> Schedule {
        let micro_batch = micro_batch.clamp(1, u32::try_from(positions.max(1)).unwrap_or(u32::MAX));
        let most = positions.div_ceil(u64::from(micro_batch)).clamp(1, u64::from(u8::MAX)) as u8;
        Schedule { positions, micro_batch, streams: streams.clamp(1, most) }
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
