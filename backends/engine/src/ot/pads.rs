//! What random OTs leave with each party, in compact sequences that are consumed front to back,
//! each pad once, and wiped when they are dropped.

use std::collections::VecDeque;

use fusion_catalogue::ot::TABLE_WIDTHS;
use zeroize::Zeroize;

use crate::bits::Bits;

/// One party's pads of both directions.
#[derive(Default)]
pub struct Pads {
    /// Of the OTs that this party sends.
    pub sending: SenderPads,
    /// Of the OTs that this party receives.
    pub receiving: ReceiverPads,
}

impl Pads {
    /// Adds `more`, to be consumed after these.
    pub fn append(&mut self, more: Pads) {
        let Pads { sending, receiving } = more;
        self.sending.append(sending);
        self.receiving.append(receiving);
    }

    /// The memory that they take up.
    pub(super) fn bytes(&self) -> usize {
        let (sending, receiving) = (&self.sending, &self.receiving);
        let sent = [&sending.bits, &sending.pairs].into_iter().chain(&sending.tables);
        let received = [&receiving.bits, &receiving.pairs, &receiving.choices].into_iter().chain(&receiving.tables);
        sent.chain(received).map(Queue::bytes).sum::<usize>() + sending.words.bytes() + receiving.words.bytes()
    }
}

/// The sender's pads.
#[derive(Default)]
pub struct SenderPads {
    pub(super) bits: Queue<Bits>,
    pub(super) pairs: Queue<Bits>,
    pub(super) tables: [Queue<Bits>; 3],
    pub(super) words: Queue<Vec<u64>>,
}

/// The receiver's pads.
#[derive(Default)]
pub struct ReceiverPads {
    pub(super) bits: Queue<Bits>,
    pub(super) pairs: Queue<Bits>,
    pub(super) tables: [Queue<Bits>; 3],
    pub(super) choices: Queue<Bits>,
    pub(super) words: Queue<Vec<u64>>,
}

impl SenderPads {
    fn append(&mut self, more: SenderPads) {
        self.bits.append(more.bits);
        self.pairs.append(more.pairs);
        self.tables.iter_mut().zip(more.tables).for_each(|(table, more)| table.append(more));
        self.words.append(more.words);
    }

    /// Of the next `n` one-bit OTs: every `r_0` and every `r_0 + r_1`.
    ///
    /// # Panics
    /// Here and below, if there are not as many.
    pub fn bits(&mut self, n: usize) -> [Bits; 2] {
        self.bits.take(n)
    }

    /// Of the next `n` two-bit OTs: both bits of every `r_0`, both of every `r_0 + r_1`.
    pub fn pairs(&mut self, n: usize) -> [[Bits; 2]; 2] {
        let [a, b, c, d] = self.pairs.take(n);
        [[a, b], [c, d]]
    }

    /// Of the next `n` 1-of-`2^width` OTs, for a width in [`TABLE_WIDTHS`]: both bits of every pad
    /// `r_0`, `r_1` and so on.
    pub fn tables(&mut self, width: usize, n: usize) -> Vec<[Bits; 2]> {
        let pads = self.tables[width - TABLE_WIDTHS.start()].take_all(2 << width, n);
        let mut pads = pads.into_iter();
        std::iter::from_fn(|| Some([pads.next()?, pads.next()?])).collect()
    }

    /// Of the next `n` word OTs: every `r_0` and every `r_1`, as words of 64 bits.
    pub fn words(&mut self, n: usize) -> [Vec<u64>; 2] {
        self.words.take(n)
    }

    /// Whether every pad was taken.
    pub fn is_empty(&self) -> bool {
        let tables = self.tables.iter().all(Queue::is_empty);
        tables && self.bits.is_empty() && self.pairs.is_empty() && self.words.is_empty()
    }
}

impl ReceiverPads {
    fn append(&mut self, more: ReceiverPads) {
        self.bits.append(more.bits);
        self.pairs.append(more.pairs);
        self.tables.iter_mut().zip(more.tables).for_each(|(table, more)| table.append(more));
        self.choices.append(more.choices);
        self.words.append(more.words);
    }

    /// Of the next `n` one-bit OTs: every choice `c` and every `r_c`.
    ///
    /// # Panics
    /// Here and below, if there are not as many.
    pub fn bits(&mut self, n: usize) -> [Bits; 2] {
        self.bits.take(n)
    }

    /// Of the next `n` two-bit OTs: every choice `c` and both bits of every `r_c`.
    pub fn pairs(&mut self, n: usize) -> (Bits, [Bits; 2]) {
        let [choice, a, b] = self.pairs.take(n);
        (choice, [a, b])
    }

    /// Of the next `n` 1-of-`2^width` OTs, for a width in [`TABLE_WIDTHS`]: the bits of every
    /// choice `c`, lowest first, and both bits of every `r_c`.
    pub fn tables(&mut self, width: usize, n: usize) -> (Vec<Bits>, Vec<Bits>) {
        let mut choices = self.tables[width - TABLE_WIDTHS.start()].take_all(width + 2, n);
        let pad = choices.split_off(width);
        (choices, pad)
    }

    /// Of the next `n` word OTs: every choice `c` and every `r_c`, a word of 64 bits.
    pub fn words(&mut self, n: usize) -> (Bits, Vec<u64>) {
        let ([choice], [words]) = (self.choices.take(n), self.words.take(n));
        (choice, words)
    }

    /// Whether every pad was taken.
    pub fn is_empty(&self) -> bool {
        let tables = self.tables.iter().all(Queue::is_empty);
        tables && self.bits.is_empty() && self.pairs.is_empty() && self.choices.is_empty() && self.words.is_empty()
    }
}

/// What can be cut into pieces and joined again.
pub(super) trait Sequence: Default {
    fn len(&self) -> usize;
    fn piece(&self, start: usize, len: usize) -> Self;
    fn join(&mut self, more: &Self);
    fn bytes(&self) -> usize;
    fn wipe(&mut self);
}

impl Sequence for Bits {
    fn len(&self) -> usize {
        Bits::len(self)
    }

    fn piece(&self, start: usize, len: usize) -> Bits {
        self.slice(start, len)
    }

    fn join(&mut self, more: &Bits) {
        self.extend(more);
    }

    fn bytes(&self) -> usize {
        8 * self.words().len()
    }

    fn wipe(&mut self) {
        Bits::wipe(self);
    }
}

impl Sequence for Vec<u64> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn piece(&self, start: usize, len: usize) -> Vec<u64> {
        self[start..start + len].to_vec()
    }

    fn join(&mut self, more: &Vec<u64>) {
        self.extend_from_slice(more);
    }

    fn bytes(&self) -> usize {
        8 * Vec::len(self)
    }

    fn wipe(&mut self) {
        self.as_mut_slice().zeroize();
    }
}

/// Sequences of one length that are consumed together, in parts as they were made. What was
/// consumed is wiped part by part.
pub(super) struct Queue<T: Sequence> {
    /// None of them empty.
    parts: VecDeque<Vec<T>>,
    /// Of the first part.
    taken: usize,
}

impl<T: Sequence> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { parts: VecDeque::new(), taken: 0 }
    }
}

impl<T: Sequence> Queue<T> {
    /// Of `sequences`, all of one length.
    pub fn new(sequences: Vec<T>) -> Queue<T> {
        debug_assert!(sequences.iter().all(|sequence| sequence.len() == sequences[0].len()));
        let mut queue = Queue::default();
        if sequences.iter().any(|sequence| sequence.len() > 0) {
            queue.parts.push_back(sequences);
        }
        queue
    }

    fn append(&mut self, mut more: Queue<T>) {
        debug_assert_eq!(more.taken, 0, "what was begun is not added to others");
        self.parts.append(&mut more.parts);
    }

    /// The next `n` elements of all `count` sequences.
    fn take_all(&mut self, count: usize, n: usize) -> Vec<T> {
        let mut all: Vec<T> = Vec::new();
        let mut missing = n;
        while missing > 0 {
            let part = self.parts.front().expect("as many pads as are needed");
            let (start, left) = (self.taken, part[0].len() - self.taken);
            let len = missing.min(left);
            if all.is_empty() {
                all = part.iter().map(|sequence| sequence.piece(start, len)).collect();
            } else {
                all.iter_mut().zip(part).for_each(|(all, sequence)| all.join(&sequence.piece(start, len)));
            }
            missing -= len;
            self.taken += len;
            if len == left {
                self.taken = 0;
                self.parts.pop_front().iter_mut().flatten().for_each(T::wipe);
            }
        }
        all.resize_with(count, T::default);
        all
    }

    /// As [`Queue::take_all`] of `N` sequences.
    fn take<const N: usize>(&mut self, n: usize) -> [T; N] {
        let mut all = self.take_all(N, n).into_iter();
        std::array::from_fn(|_| all.next().unwrap_or_default())
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn bytes(&self) -> usize {
        self.parts.iter().flatten().map(T::bytes).sum()
    }
}

impl<T: Sequence> Drop for Queue<T> {
    fn drop(&mut self) {
        self.parts.iter_mut().flatten().for_each(T::wipe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_consumed_as_one_sequence() {
        let numbers: Vec<u64> = (0..300).map(|i| i * 77 % 64).collect();
        for cuts in [vec![300], vec![64, 236], vec![1, 0, 99, 200]] {
            let mut queue = Queue::default();
            let mut start = 0;
            for len in cuts {
                let part = &numbers[start..start + len];
                queue.append(Queue::new(vec![Bits::plane(part, 0), Bits::plane(part, 3)]));
                start += len;
            }
            let mut taken = 0;
            for n in [0, 7, 64, 130, 0, 99] {
                let expected = [0, 3].map(|bit| Bits::plane(&numbers[taken..taken + n], bit));
                assert_eq!(queue.take::<2>(n), expected);
                taken += n;
            }
            assert!(queue.is_empty() && taken == 300);
            assert_eq!(queue.take_all(4, 0), vec![Bits::default(); 4]);
        }
    }

    #[test]
    fn memory_is_counted_until_a_part_is_used_up() {
        let mut queue = Queue::new(vec![vec![1u64; 10]; 2]);
        queue.append(Queue::new(vec![vec![2; 5]; 2]));
        assert_eq!(queue.bytes(), 8 * 30);
        let [first, second] = queue.take(11);
        assert_eq!((first, second), ([vec![1; 10], vec![2]].concat(), [vec![1; 10], vec![2]].concat()));
        assert_eq!(queue.bytes(), 8 * 10);
    }
}
