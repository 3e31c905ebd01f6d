//! Encryption of vectors modulo a prime, with rotations: Brakerski 2012; Fan and Vercauteren 2012,
//! in residues.
//!
//! A ciphertext `(a, b)` of a polynomial `m` modulo `p` satisfies `b - a s = (q / p) m + noise`.
//! Modulo `p` the ring splits into slots: slot `i` of the first row is the value at `psi^(3^i)`, of
//! the second row at `psi^(-3^i)`, so `X -> X^(3^k)` rotates both rows by `k`. Every sample has its
//! own [`ClientKey`]: nothing here takes two of them.

mod cipher;
mod key;
mod ring;
mod slots;

pub use cipher::{Ciphertext, Hoisted, decrypt};
pub use key::{ClientKey, ServerKey};
pub use ring::{Poly, Spectrum};
pub use slots::Encoder;
