//! What the protocols of CrypTFlow2 (Rathee et al., CCS 2020; IACR ePrint 2020/1002) cost: the
//! family that the paper on Fusion compares with, over the same operations with the same results as
//! every other family.

pub mod compare;
mod family;
pub mod he;
pub mod matmul;
pub mod ot;

pub use compare::{Mill, Schedule, Words};
pub use family::{Comparisons, Family, Layer, Products};
