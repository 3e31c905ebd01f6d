//! The memory of polynomials: it stays with the thread that no longer needs it, for the next.
//!
//! Polynomials come and go by the thousand in every layer, each a multiple of a page; an allocator
//! would hand their pages back to the operating system and ask for them again, at the price of as
//! much work as a transform.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::{DEGREE, PRIMES};

/// Residues of a polynomial: modulo both primes.
const LEN: usize = PRIMES.len() * DEGREE;
/// Words of a cache line.
const LINE: usize = 8;
/// Unused polynomials that a thread keeps at most.
const MOST: usize = 128;

thread_local! {
    static UNUSED: RefCell<Vec<Vec<u64>>> = const { RefCell::new(Vec::new()) };
}

/// [`LEN`] words at the beginning of a cache line, or none. Whatever is secret must be zeroized
/// before it is dropped, as with any memory.
#[derive(Debug, Default)]
pub(super) struct Residues {
    /// Enough for the words wherever it begins.
    memory: Vec<u64>,
    start: usize,
}

impl Residues {
    /// Words of which each must be written before it is read.
    pub(super) fn any() -> Residues {
        let unused = UNUSED.try_with(|unused| unused.borrow_mut().pop()).ok().flatten();
        let memory = unused.unwrap_or_else(|| vec![0; LEN + LINE]);
        let start = memory.as_ptr().align_offset(LINE * size_of::<u64>());
        Residues { memory, start: start.min(LINE) }
    }

    /// Zeros.
    pub(super) fn zero() -> Residues {
        let mut residues = Residues::any();
        residues.fill(0);
        residues
    }
}

impl Drop for Residues {
    fn drop(&mut self) {
        if !self.memory.is_empty() {
            let words = std::mem::take(&mut self.memory);
            // At the end of its thread there is nowhere to keep it.
            let _ = UNUSED.try_with(|unused| {
                let mut unused = unused.borrow_mut();
                if unused.len() < MOST {
                    unused.push(words);
                }
            });
        }
    }
}

impl Clone for Residues {
    fn clone(&self) -> Residues {
        let mut copy = Residues::any();
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for Residues {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.memory[self.start..self.memory.len().min(self.start + LEN)]
    }
}

impl PartialEq for Residues {
    fn eq(&self, other: &Residues) -> bool {
        **self == **other
    }
}

impl Eq for Residues {}

impl DerefMut for Residues {
    fn deref_mut(&mut self) -> &mut [u64] {
        let end = self.memory.len().min(self.start + LEN);
        &mut self.memory[self.start..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_and_zeros_are_zeros() {
        let mut first = Residues::zero();
        first.fill(7);
        let (place, copy) = (first.as_ptr(), first.clone());
        drop(first);
        let again = Residues::zero();
        assert_eq!(again.as_ptr(), place);
        assert!(again.iter().all(|word| *word == 0) && copy.iter().all(|word| *word == 7));
        drop(std::mem::take(&mut Residues::any()));
        assert!(Residues::default().is_empty());
    }
}
