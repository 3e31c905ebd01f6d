//! Which layers of a position share a key pair of the `cheetah` family, and what is encrypted.
//!
//! The secret of a pair that serves one layer only has encrypted everything it ever will before the
//! client decrypts anything under it. Of layers that share a pair, a later one's operand may depend
//! on what an earlier one's decryption gave, hence on the secret. So pairs of layers' own spare an
//! assumption on key-dependent messages; they cost the bytes of a public key for every layer. Keys
//! for output packing are large: layers that pack their results share the position's pair.
//!
//! Layers that are computed *ahead* encrypt a uniform mask `r` instead of the client's share `x`,
//! while earlier layers run and on a channel of their own (the linear layers of DELPHI, Mishra et
//! al., USENIX Security 2020). When its turn comes, a layer is one message, `x - r`, after which
//! the server applies its weights to what it then holds in the clear, its own share and this. Masks
//! alone spare no assumption: an encryption of `r` and then `x - r` are as good as one of `x`. So
//! layers that do not pack their results have pairs of their own there, too. Products of secret
//! matrices have no weights and are never computed ahead.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// How many key pairs of the `cheetah` family a position has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// One for every layer that does not pack its results, and one for all that do.
    Layer,
    /// One for all layers.
    Position,
    /// As [`Keys::Layer`], and linear layers are computed on masks, ahead of their operands.
    Ahead,
}

impl Keys {
    /// Every choice.
    pub const ALL: [Keys; 3] = [Keys::Layer, Keys::Position, Keys::Ahead];

    /// Whether a layer that packs its results in so many levels has a key pair of its own.
    pub fn serve_one(self, levels: u32) -> bool {
        self != Keys::Position && levels == 0
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Keys::Layer => "layer",
            Keys::Position => "position",
            Keys::Ahead => "ahead",
        })
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Keys, String> {
        let known = Keys::ALL.into_iter().find(|keys| keys.to_string() == text);
        known.ok_or_else(|| format!("{text} is none of layer, position and ahead"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for keys in Keys::ALL {
            assert_eq!(keys.to_string().parse(), Ok(keys));
        }
        assert!("none".parse::<Keys>().unwrap_err().contains("none of layer, position and ahead"));
    }
}
