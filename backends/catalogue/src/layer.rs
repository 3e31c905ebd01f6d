//! What each operation of the IR costs on its backend, and what a session costs around its layers.

use fusion_ir::op::{Cheetah, CryptFlow2};
use fusion_ir::{Backend, Function, Op, Party, TensorType, Value, ValueId};

use crate::compare::Comparison;
use crate::crypt_flow2::he::Slots;
use crate::linear::{self, PUBLIC_KEY_BYTES, Packing, interleaved};
use crate::{Cost, Keys, Primitive, contests, crypt_flow2, garbled, packed_bytes};

/// The messages of setting up a session's layers for `function`, before any position. Its generator sets up as its
/// [supply](crate::ot::Supply::setup) does.
pub fn setup(function: &Function) -> Cost {
    let mut cost = Cost::default();
    if Demand::of(function, Keys::Position).crypt_flow2 {
        cost.then(&crypt_flow2::ot::setup());
    }
    cost
}

/// The messages that begin a micro-batch: the client's keys for each position, as far as layers of `function` share any.
pub fn begin(function: &Function, keys: Keys, positions: usize) -> Cost {
    let mut cost = Cost::default();
    let demand = Demand::of(function, keys);
    if demand.public_keys {
        cost.then(&public_keys(positions));
    }
    if demand.levels > 0 {
        (0..positions).for_each(|_| cost.send(Party::Client, interleaved::key_bytes(demand.levels) as u64));
        let keys = positions * demand.levels as usize * interleaved::KEYS_PER_LEVEL;
        cost.compute(Primitive::Ciphertext, keys as u64);
    }
    if let Some(steps) = demand.steps {
        let bytes = crypt_flow2::he::key_bytes(steps.len());
        (0..positions).for_each(|_| cost.send(Party::Client, bytes as u64));
        cost.compute(Primitive::PackedKey, (positions * bytes / crypt_flow2::he::POLYNOMIAL_BYTES) as u64);
    }
    cost
}

/// A public key for each position.
fn public_keys(positions: usize) -> Cost {
    let mut cost = Cost::default();
    cost.send(Party::Client, (positions * PUBLIC_KEY_BYTES) as u64);
    cost.compute(Primitive::KeyPair, positions as u64);
    cost
}

/// What a function needs besides its layers' own messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// A public key for each position: it has linear layers of the `cheetah` family without one of their own.
    pub public_keys: bool,
    /// The most levels of [output packing](linear::interleaved) that one of those layers has: keys of so many for each position.
    pub levels: u32,
    /// The extensions of the `crypt_flow2` family.
    pub crypt_flow2: bool,
    /// Keys of packed ciphertexts for each position, with rotations by these steps, if it has such layers.
    pub steps: Option<Vec<usize>>,
}

impl Demand {
    /// What `function` needs with these keys.
    pub fn of(function: &Function, keys: Keys) -> Demand {
        let mut demand = Demand::default();
        let mut packed = Vec::new();
        for (id, value) in function.iter().filter(|(_, value)| !value.op.is_local()) {
            match value.backend {
                Backend::CryptFlow2(linear) => {
                    demand.crypt_flow2 |= !matches!(value.op, Op::Reveal(_));
                    if linear == CryptFlow2::He && matches!(value.op, Op::Conv(_) | Op::Dense { .. }) {
                        // A layer that cannot be carried is refused where its cost is asked for.
                        packed.extend(Slots::new(function, id));
                    }
                }
                Backend::Garbled => {}
                _ if matches!(value.op, Op::Conv(_) | Op::Dense { .. }) => {
                    demand.public_keys |= !keys.own(function, id);
                    if cheetah(value).output_packing {
                        // The same as above of a layer that cannot be carried.
                        demand.levels =
                            Packing::new(function, id).map_or(0, |packing| packing.levels()).max(demand.levels);
                    }
                }
                _ => {}
            }
        }
        demand.steps = (!packed.is_empty()).then(|| crypt_flow2::he::steps(&packed));
        demand
    }
}

/// What one operation costs on a micro-batch, its own public keys included where it has some; a local one has no messages.
///
/// # Errors
/// If the operation is a linear layer that RLWE ciphertexts of these parameters cannot carry.
pub fn layer(function: &Function, id: ValueId, keys: Keys, positions: usize) -> Result<Cost, linear::Unsupported> {
    let value = function.value(id);
    if let (Backend::CryptFlow2(_), false, false) =
        (value.backend, value.op.is_local(), matches!(value.op, Op::Reveal(_)))
    {
        return crypt_flow2::layer(function, id, positions);
    }
    if value.backend == Backend::Garbled && garbled::computes(&value.op) {
        return Ok(garbled::layer(function, id, positions));
    }
    if matches!(value.op, Op::Conv(_) | Op::Dense { .. }) {
        if value.backend == Backend::Garbled {
            return Err(linear::Unsupported::Circuit);
        }
        let packing = Packing::new(function, id)?;
        let mut cost = if keys.serve_one(&packing) { public_keys(positions) } else { Cost::default() };
        cost.then(&linear::cost(&packing, positions));
        return Ok(cost);
    }
    if value.op.is_local() {
        let operands = value.operands.iter().map(|operand| function.value(*operand).ty.len());
        let mut cost = Cost::default();
        let primitive = match value.op {
            Op::Transpose { .. } | Op::SumPool(_) | Op::Slice { .. } | Op::Pad { .. } | Op::Paths(_) => {
                Primitive::MovedElement
            }
            _ => Primitive::LocalElement,
        };
        cost.compute(primitive, 2 * (positions * (value.ty.len() + operands.sum::<usize>())) as u64);
        return Ok(cost);
    }
    let operand = value.operands.first().map(|operand| &function.value(*operand).ty);
    Ok(operand.map_or_else(Cost::default, |operand| nonlinear(value, operand, positions)))
}

/// The choices for a value of the `cheetah` family; the default ones as long as no backend is selected.
pub fn cheetah(value: &Value) -> Cheetah {
    match value.backend {
        Backend::Cheetah(choices) => choices,
        _ => Cheetah::default(),
    }
}

/// The message that opens a value to the client: the server's share.
pub fn reveal(ty: &TensorType, positions: usize) -> Cost {
    let mut cost = Cost::default();
    cost.send(Party::Server, packed_bytes(positions * ty.len(), ty.bits));
    cost
}

/// The comparison that computes an elementwise operation on operands of the type of the first one; `None` for any other operation.
pub fn elementwise(op: &Op, operand: &TensorType, ty: &TensorType) -> Option<Comparison> {
    let (bits, k) = (operand.bits, ty.bits);
    match *op {
        Op::Requant { shift } => Some(Comparison::Requant { bits, shift, k }),
        Op::RequantRelu { shift } => Some(Comparison::RequantRelu { bits, shift, k }),
        Op::RequantClip { shift, limit } => {
            Some(Comparison::RequantClip { bits, shift, k, limit: limit.unsigned_abs() })
        }
        Op::Relu => Some(Comparison::Relu { bits }),
        Op::Step => Some(Comparison::Step { bits, k }),
        Op::Extend => Some(Comparison::Extend { bits, k, sign: operand.sign }),
        Op::Mul => Some(Comparison::Mul { bits }),
        _ => None,
    }
}

fn nonlinear(value: &Value, operand: &TensorType, positions: usize) -> Cost {
    if matches!(value.op, Op::Reveal(_)) {
        return reveal(&value.ty, positions);
    }
    let leaf_bits = cheetah(value).leaf_bits;
    contests::cost(&|comparison, n| comparison.cost(leaf_bits, n), value, operand, positions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_ir::text::parse;

    #[test]
    fn local_operations_are_free_and_the_others_are_not() {
        let function = parse(
            "function \"f\"\nweight @w0 \"w\" : i8.0[4,8]\nv0 = input : i20.0~9[8] \"\"\n\
             v1 = shift_left v0 by=1 : i20.1~10[8] \"\"\nv2 = dense v1, @w0 : i20.1~18[4] \"\"\n\
             v3 = requant_relu v2 shift=4 : i16.-3~14+[4] \"\"\nv4 = extend v3 : i20.-3~14+[4] \"\"\n\
             v5 = argmax v4 : i3.0~2+[1] \"\"\nv6 = fusion.reveal v5 what=label : i3.0~2+[1] \"\"\n",
        )
        .unwrap();
        let messages: Vec<usize> =
            function.iter().map(|(id, _)| layer(&function, id, Keys::Position, 3).unwrap().messages.len()).collect();
        assert_eq!(messages[..3], [0, 0, 2]);
        assert!(messages[3..6].iter().all(|n| *n >= 2), "{messages:?}");
        assert_eq!(layer(&function, ValueId(6), Keys::Position, 3).unwrap(), reveal(&function.values[6].ty, 3));
        assert_eq!(reveal(&function.values[6].ty, 3).bytes(Party::Server), 2 + 8, "nine bits and a header");
    }

    #[test]
    fn keys_for_output_packing_are_sent_where_a_layer_is_packed() {
        let begun = |bits: u8, backend: &str, keys: Keys| {
            let text = format!(
                "function \"f\"\nweight @w0 \"w\" : i8.0[64,64,1,1]\nv0 = input : i{bits}.0~9[64,14,14] \"\"\n\
                 v1 = conv v0, @w0 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : \
                 i{bits}.0~18[64,14,14] by {backend} \"\"\n"
            );
            let function = parse(&text).unwrap();
            let layer = layer(&function, ValueId(1), keys, 2).unwrap();
            (begin(&function, keys, 2).messages.len(), layer.messages.len(), layer.bytes(Party::Server))
        };
        let [plain, packed] = ["cheetah", "cheetah(pack)"].map(|backend| begun(28, backend, Keys::Position));
        assert!((plain.0, packed.0) == (1, 3) && (plain.1, packed.1) == (2, 2) && packed.2 < plain.2);
        // With a key pair of its own a layer sends it itself; one that packs its results has none.
        let [own, shared] = ["cheetah", "cheetah(pack)"].map(|backend| begun(28, backend, Keys::Layer));
        assert_eq!((own, shared), ((0, 3, plain.2), packed));
        // Too wide: what changes of key add could not be hidden.
        assert_eq!(begun(34, "cheetah", Keys::Layer), begun(34, "cheetah(pack)", Keys::Layer));
    }

    #[test]
    fn what_ciphertexts_cannot_carry_is_refused() {
        let function = parse(
            "function \"f\"\nweight @w0 \"w\" : i8.0[4,8]\nv0 = input : i40.0~9[8] \"\"\n\
             v1 = dense v0, @w0 : i40.0~18[4] \"\"\n",
        )
        .unwrap();
        assert_eq!(layer(&function, ValueId(1), Keys::Position, 1), Err(linear::Unsupported::Accumulator(40)));
    }
}
