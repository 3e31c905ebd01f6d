//! Asking for memory before it is needed.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "an instruction that computes nothing"))]

use super::Pair;

/// Begins to bring `pair` near, where the processor can; nothing depends on it.
#[inline(always)]
pub fn prefetch(pair: &Pair) {
    #[cfg(target_arch = "x86_64")]
    for lanes in pair {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every processor of this kind has the instruction, and it may be given any
        // address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(lanes).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pair;
}
