//! No vector instructions are known for this architecture.

use fusion_catalogue::cpu::Form;

use super::{COLUMNS, RoundKeys};

/// Proof that the CPU has the instructions: there is none.
#[derive(Clone, Copy)]
pub(crate) enum Vector {}

#[allow(missing_docs, reason = "each method is documented at the kernels that it stands in for")]
impl Vector {
    pub fn of(_: Form) -> Option<Vector> {
        None
    }

    pub fn round_keys(self, _: u128) -> RoundKeys {
        match self {}
    }

    pub fn expand(self, _: &[RoundKeys], _: usize, _: u64, _: &mut [u128], _: &mut [u128]) {
        match self {}
    }

    pub fn transpose(self, _: &mut [u128; COLUMNS]) {
        match self {}
    }

    pub fn plane(self, _: &[[u64; 64]], _: u8, _: &mut [u64]) {
        match self {}
    }

    pub fn hash(self, _: &RoundKeys, _: u128, _: &[u128; COLUMNS], _: u128) -> [u64; COLUMNS] {
        match self {}
    }

    pub fn weighted_sums(self, _: &[[u128; COLUMNS]], _: &[u128]) -> [[u128; 2]; COLUMNS] {
        match self {}
    }

    pub fn double(self, _: &RoundKeys, _: &mut [u128], _: &mut [u128], _: u128) -> [u128; 2] {
        match self {}
    }

    pub fn set(self, _: &mut [u128], _: usize, _: u128) {
        match self {}
    }

    pub fn lowest_bits(self, _: &[u128; COLUMNS]) -> u128 {
        match self {}
    }

    pub fn add_sparse(self, _: &RoundKeys, _: u64, _: &[u128], _: &mut [u128]) {
        match self {}
    }

    pub fn product(self, _: u128, _: u128) -> u128 {
        match self {}
    }

    pub fn polynomial(self, _: u128, _: &[u128]) -> u128 {
        match self {}
    }
}
