//! Wires and gates, each over all elements at once, for the party that garbles and for the one that
//! evaluates.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use sha2::{Digest, Sha256};

use crate::bits::Bits;

/// The hash of gates: `H(x, i) = pi(pi(x) + i) + pi(x)` with `pi` AES-128 under a key of the
/// session (TMMO of Guo, Katz, Wang and Yu, IEEE S&P 2020). Tweaks count up through the session.
pub struct GateHash {
    permutation: Aes128Enc,
    next: u128,
}

impl GateHash {
    /// The hash of a session.
    pub fn new(session_id: &[u8; 32]) -> GateHash {
        let key = Sha256::new_with_prefix(b"fusion garbled v1 fixed key ").chain_update(session_id).finalize();
        let key: [u8; 16] = std::array::from_fn(|i| key[i]);
        GateHash { permutation: Aes128Enc::new(&key.into()), next: 0 }
    }

    /// The hashes of `x`, with tweaks that count up from `tweak`.
    fn hash(&self, tweak: u128, x: impl Iterator<Item = u128>) -> Vec<u128> {
        let mut once: Vec<Block> = x.map(|x| x.to_le_bytes().into()).collect();
        self.permutation.encrypt_blocks(&mut once);
        let tweaked =
            |(block, tweak): (&Block, u128)| (u128::from_le_bytes((*block).into()) ^ tweak).to_le_bytes().into();
        let mut twice: Vec<Block> = once.iter().zip(tweak..).map(tweaked).collect();
        self.permutation.encrypt_blocks(&mut twice);
        let sum = |(a, b): (&Block, &Block)| u128::from_le_bytes((*a).into()) ^ u128::from_le_bytes((*b).into());
        once.iter().zip(&twice).map(sum).collect()
    }
}

/// A wire's labels, one for every element: those of 0 at the garbler, the active ones at the
/// evaluator.
#[derive(Clone)]
pub struct Wire(pub Vec<u128>);

impl Wire {
    /// The labels' lowest bits.
    pub fn colours(&self) -> Bits {
        let colours: Vec<u64> = self.0.iter().map(|label| *label as u64).collect();
        Bits::plane(&colours, 0)
    }
}

/// Which party's gates these are.
pub enum Gate<'g> {
    /// With the difference of a wire's two labels, and the gates so far.
    Garble(u128, Vec<u128>),
    /// With the gates still to come.
    Evaluate(&'g [u128]),
}

/// Makes or evaluates gates, in the same order at both parties.
pub struct Gates<'g> {
    gate: Gate<'g>,
    hash: &'g mut GateHash,
    n: usize,
}

impl<'g> Gates<'g> {
    /// Over `n` elements.
    pub fn new(gate: Gate<'g>, hash: &'g mut GateHash, n: usize) -> Gates<'g> {
        Gates { gate, hash, n }
    }

    /// The gates made, two blocks for each element.
    pub fn gates(&self) -> &[u128] {
        match &self.gate {
            Gate::Garble(_, gates) => gates,
            Gate::Evaluate(gates) => gates,
        }
    }

    /// A wire of which everybody knows that it is `bit`: the active label is 0.
    pub fn constant(&self, bit: bool) -> Wire {
        let label = match self.gate {
            Gate::Garble(delta, _) if bit => delta,
            _ => 0,
        };
        Wire(vec![label; self.n])
    }

    /// Sum mod 2.
    pub fn xor(&self, a: &Wire, b: &Wire) -> Wire {
        Wire(a.0.iter().zip(&b.0).map(|(a, b)| a ^ b).collect())
    }

    /// Complement.
    pub fn not(&self, a: &Wire) -> Wire {
        match self.gate {
            Gate::Garble(delta, _) => Wire(a.0.iter().map(|a| a ^ delta).collect()),
            Gate::Evaluate(_) => a.clone(),
        }
    }

    /// Product: two half gates (figure 2 of Zahur, Rosulek and Evans).
    pub fn and(&mut self, a: &Wire, b: &Wire) -> Wire {
        let (n, tweak) = (self.n, self.hash.next);
        let second = tweak + n as u128;
        self.hash.next = second + n as u128;
        let coloured = |label: u128, block: u128| block & (label & 1).wrapping_neg();
        match &mut self.gate {
            Gate::Garble(delta, gates) => {
                let delta = *delta;
                let hash = |tweak, wire: &Wire, offset: u128| self.hash.hash(tweak, wire.0.iter().map(|x| x ^ offset));
                let (a0, a1) = (hash(tweak, a, 0), hash(tweak, a, delta));
                let (b0, b1) = (hash(second, b, 0), hash(second, b, delta));
                let mut product = Vec::with_capacity(n);
                for i in 0..n {
                    let (a, b) = (a.0[i], b.0[i]);
                    let generator = a0[i] ^ a1[i] ^ coloured(b, delta);
                    let evaluator = b0[i] ^ b1[i] ^ a;
                    gates.extend([generator, evaluator]);
                    product.push(a0[i] ^ coloured(a, generator) ^ b0[i] ^ coloured(b, evaluator ^ a));
                }
                Wire(product)
            }
            Gate::Evaluate(gates) => {
                let (own, rest) = gates.split_at(2 * n);
                *gates = rest;
                let (hash_a, hash_b) =
                    (self.hash.hash(tweak, a.0.iter().copied()), self.hash.hash(second, b.0.iter().copied()));
                let active = |(i, gate): (usize, &[u128; 2])| {
                    let (a, b) = (a.0[i], b.0[i]);
                    hash_a[i] ^ coloured(a, gate[0]) ^ hash_b[i] ^ coloured(b, gate[1] ^ a)
                };
                Wire(own.as_chunks().0.iter().enumerate().map(active).collect())
            }
        }
    }

    /// Sum of two numbers of one width, mod 2 to the width: one product for every carry but the
    /// highest.
    pub fn add(&mut self, a: &[Wire], b: &[Wire]) -> Vec<Wire> {
        let mut carry: Option<Wire> = None;
        let mut sum = Vec::with_capacity(a.len());
        for (place, (a, b)) in a.iter().zip(b).enumerate() {
            let half = self.xor(a, b);
            sum.push(carry.as_ref().map_or_else(|| half.clone(), |carry| self.xor(&half, carry)));
            if place + 1 == sum.capacity() {
                break;
            }
            carry = Some(match carry {
                None => self.and(a, b),
                Some(carry) => {
                    let [left, right] = [self.xor(a, &carry), self.xor(b, &carry)];
                    let both = self.and(&left, &right);
                    self.xor(&both, &carry)
                }
            });
        }
        sum
    }

    /// Every bit of a number where `bit` is 1, else 0.
    pub fn gate(&mut self, bit: &Wire, number: &[Wire]) -> Vec<Wire> {
        number.iter().map(|wire| self.and(bit, wire)).collect()
    }
}
