//! RLWE encryption for one server evaluation: the client encrypts under its own key, the server
//! multiplies by plaintext polynomials, adds up, and returns a masked, re-randomised, flooded and
//! switched result.
//!
//! A ciphertext `(a, b)` of `m` satisfies `b - a s = (q / t) m + noise` with `t = 2^acc` (Brakerski
//! 2012; Fan and Vercauteren 2012). Every sample of a batch has its own [`ClientKey`]: nothing here
//! takes two of them.
//!
//! **Circuit privacy.** The client knows `s`, so noise and `a` of a plain linear combination would
//! tell it the server's weights. [`Ciphertext::write_result`] says what the server does about it;
//! what remains is the statistical distance that [`fusion_catalogue::cheetah::noise`] bounds, and
//! the RLWE assumption.

#[cfg(test)]
mod attack;
mod cipher;
mod key;
#[cfg(test)]
mod measured;
mod scale;
mod switching;

pub use cipher::Ciphertext;
pub use key::{ClientKey, PackingKeys, PublicKey, UploadSeeds};
pub use scale::Scale;
pub use switching::Tree;
