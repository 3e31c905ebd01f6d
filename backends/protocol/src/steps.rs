//! A function's operations resolved into [`Step`]s, once for all who ask what they are: session,
//! forecast, memory, selector.

use fusion_ir::{Backend, Function, Op, Party, ValueId};

use crate::cheetah::{self, Packing, Packings};
use crate::compare::{Comparison, Nonlinear};
use crate::families::{FAMILIES, family};
use crate::linear::{MOST_SCALARS_IN_ALL, Matrices, Refusal, Shape};
use crate::rlwe;
use crate::step::{Compare, Local, Reveal};
use crate::{Cost, Keys, Primitive, SharedSetup, Step};

/// A function with the step of every value.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    function: Function,
    steps: Vec<Step>,
}

/// A value that its backend cannot compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Which.
    pub value: ValueId,
    /// Its operation.
    pub op: &'static str,
    /// The ONNX node it comes from.
    pub node: String,
    /// Why.
    pub why: Refusal,
}

/// Turns operations into steps; layers that are alike are laid out once.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    packings: Packings,
}

impl Resolver {
    /// Value `id` of `function` as `backend` computes it, whatever its own one is.
    ///
    /// # Errors
    /// If the protocols cannot carry it.
    pub fn step(&mut self, function: &Function, id: ValueId, backend: Backend) -> Result<Step, Refusal> {
        match kind(function, id)? {
            Kind::Local(local) => Ok(Step::Local(local)),
            Kind::Linear => {
                let shape = Shape::of(function, id)?;
                family(backend).linear(backend, &shape, &mut self.packings).map(Step::Linear)
            }
            Kind::Product => {
                let (bits, matrices) = (function.value(id).ty.bits, Matrices::of(function, id)?);
                match family(backend).product(backend, bits, &matrices, &mut self.packings) {
                    Ok(Some(product)) => return Ok(Step::Product(product)),
                    Ok(None) => matrices.few(None)?,
                    // What is not carried whole is computed scalar by scalar if it is small.
                    Err(why) => matrices.few(Some(why))?,
                }
                let operation = Nonlinear::MatMul { bits, matrices };
                Ok(Step::Compare(Compare { operation, by: family(backend).compare(backend)? }))
            }
            Kind::Compare(operation) => {
                let by = family(backend).compare(backend)?;
                Ok(Step::Compare(Compare { operation, by }))
            }
            Kind::Reveal(reveal) => Ok(Step::Reveal(reveal)),
        }
    }

    /// All values, each by its own backend.
    ///
    /// # Errors
    /// Every value that its backend cannot compute.
    pub fn steps(&mut self, function: &Function) -> Result<Steps, Vec<Unsupported>> {
        let mut unsupported = Vec::new();
        let mut steps = Vec::with_capacity(function.values.len());
        let mut scalars = 0;
        for (id, value) in function.iter() {
            let step = self.step(function, id, value.backend).and_then(|step| few_in_all(step, &mut scalars));
            match step {
                Ok(step) => steps.push(step),
                Err(why) => {
                    let (op, node) = (value.op.name(), value.node.clone());
                    unsupported.push(Unsupported { value: id, op, node, why });
                }
            }
        }
        match unsupported.is_empty() {
            true => Ok(Steps { function: function.clone(), steps }),
            false => Err(unsupported),
        }
    }
}

impl Steps {
    /// Those of `function`.
    ///
    /// # Errors
    /// Every value that its backend cannot compute.
    pub fn of(function: &Function) -> Result<Steps, Vec<Unsupported>> {
        Resolver::default().steps(function)
    }

    /// The function.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// The step of value `id`.
    pub fn get(&self, id: ValueId) -> &Step {
        &self.steps[id.index()]
    }

    /// The steps of all values, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Step> {
        self.steps.iter()
    }

    /// What they need besides their own messages.
    pub fn shared(&self, keys: Keys) -> SharedSetup {
        SharedSetup::of(self, keys)
    }

    /// What a micro-batch takes: what begins it, then every value.
    pub fn costs(&self, keys: Keys, positions: usize) -> Vec<Cost> {
        let begin = self.shared(keys).begin(positions);
        std::iter::once(begin).chain(self.iter().map(|step| step.cost(keys, positions))).collect()
    }

    /// What a micro-batch takes on the channel of its linear layers, if they are computed
    /// [ahead](Keys::Ahead), part by part: the keys that layers share; every layer [on its
    /// mask](Step::masked), in order, with the keys of its own; what is left. The client sends a
    /// layer's operand before it reads the results of the layer before, so layer `i`, from 0, is
    /// done with part `i + 2`. Else nothing.
    pub fn ahead(&self, keys: Keys, positions: usize) -> Vec<Cost> {
        let layers: Vec<&Packing> = self.iter().filter_map(|step| step.masked(keys)).collect();
        if layers.is_empty() {
            return Vec::new();
        }
        let (mut costs, mut before) = (vec![self.shared(keys).begin_ahead(positions)], None);
        for packing in layers {
            let layer = cheetah::cost(packing, positions);
            let [upload, download] = [packing.upload_bytes(), packing.download_bytes()].map(|n| (positions * n) as u64);
            let mut cost =
                if keys.serve_one(packing.levels()) { rlwe::public_keys(positions) } else { Cost::default() };
            match before.replace(download) {
                None => cost.send(Party::Client, upload),
                Some(results) => cost.exchange([upload, results]),
            }
            let work = layer.work.iter().filter(|(primitive, _)| **primitive != Primitive::Message);
            work.for_each(|(primitive, count)| cost.compute(*primitive, *count));
            costs.push(cost);
        }
        let mut last = Cost::default();
        before.into_iter().for_each(|results| last.send(Party::Server, results));
        costs.push(last);
        costs
    }
}

impl<'s> IntoIterator for &'s Steps {
    type Item = &'s Step;
    type IntoIter = std::slice::Iter<'s, Step>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.op, self.node, self.why)
    }
}

/// A step, unless the products of matrices that are computed scalar by scalar are too many with it:
/// what is priced by the wave would take long. `scalars` are those before it.
fn few_in_all(step: Step, scalars: &mut u64) -> Result<Step, Refusal> {
    if let Step::Compare(Compare { operation: Nonlinear::MatMul { matrices, .. }, .. }) = &step {
        *scalars = scalars.saturating_add(matrices.products());
        if *scalars > MOST_SCALARS_IN_ALL {
            return Err(Refusal::ScalarsInAll(*scalars));
        }
    }
    Ok(step)
}

/// The ways to compute an operation that the families have, the default one first; none for one
/// that each party computes by itself.
pub fn candidates(op: &Op) -> Vec<Backend> {
    match class(op) {
        Class::Moved | Class::InOrder => Vec::new(),
        Class::Linear => FAMILIES.iter().flat_map(|family| family.linear_candidates()).collect(),
        Class::Product => FAMILIES.iter().flat_map(|family| family.product_candidates()).collect(),
        Class::Compare => FAMILIES.iter().flat_map(|family| family.compare_candidates()).collect(),
        Class::Reveal => FAMILIES.iter().flat_map(|family| family.compare_candidates()).take(1).collect(),
    }
}

/// What an operation is, whoever computes it.
enum Class {
    /// Local, its elements read and written in order.
    InOrder,
    /// Local, its elements moved elsewhere or summed up.
    Moved,
    Linear,
    /// Of secret matrices.
    Product,
    Compare,
    Reveal,
}

/// The one place that says what an operation is to the protocols.
fn class(op: &Op) -> Class {
    match op {
        Op::Input(_) | Op::Mix(_) | Op::Check | Op::Reshape => Class::InOrder,
        Op::Truncate | Op::ShiftLeft { .. } | Op::Scale { .. } | Op::Offset { .. } => Class::InOrder,
        Op::Bias { .. } | Op::Add | Op::Concat { .. } => Class::InOrder,
        Op::Transpose { .. } | Op::SumPool(_) | Op::Slice { .. } | Op::Pad { .. } | Op::Paths(_) => Class::Moved,
        Op::Conv(_) | Op::Dense { .. } => Class::Linear,
        Op::MatMul => Class::Product,
        Op::Requant { .. } | Op::RequantRelu { .. } | Op::RequantClip { .. } | Op::Relu => Class::Compare,
        Op::Step | Op::Extend | Op::Mul | Op::Piecewise(_) => Class::Compare,
        Op::MaxPool(_) | Op::ArgMax | Op::TopK { .. } => Class::Compare,
        Op::Reveal(_) => Class::Reveal,
    }
}

/// The same of one value, with the parameters that do not depend on a family.
enum Kind {
    Local(Local),
    Linear,
    Product,
    Compare(Nonlinear),
    Reveal(Reveal),
}

fn kind(function: &Function, id: ValueId) -> Result<Kind, Refusal> {
    let value = function.value(id);
    let local = |primitive| {
        let operands = value.operands.iter().map(|operand| function.value(*operand).ty.len());
        Kind::Local(Local { primitive, elements: value.ty.len() + operands.sum::<usize>() })
    };
    Ok(match class(&value.op) {
        Class::InOrder => local(Primitive::LocalElement),
        Class::Moved => local(Primitive::MovedElement),
        Class::Linear => Kind::Linear,
        Class::Product => Kind::Product,
        Class::Compare => Kind::Compare(nonlinear(function, id).ok_or(Refusal::Operand)?),
        Class::Reveal => Kind::Reveal(Reveal { elements: value.ty.len(), bits: value.ty.bits }),
    })
}

/// The comparisons that an operation is made of; `None` if it is made of none, or its operand has
/// another shape than it takes.
fn nonlinear(function: &Function, id: ValueId) -> Option<Nonlinear> {
    let value = function.value(id);
    let operand = &function.value(*value.operands.first()?).ty;
    let (bits, k, elements) = (operand.bits, value.ty.bits, value.ty.len());
    let elementwise = |comparison| Some(Nonlinear::Elementwise { comparison, elements });
    match &value.op {
        Op::Requant { shift } => elementwise(Comparison::Requant { bits, shift: *shift, k }),
        Op::RequantRelu { shift } => elementwise(Comparison::RequantRelu { bits, shift: *shift, k }),
        Op::RequantClip { shift, limit } => {
            elementwise(Comparison::RequantClip { bits, shift: *shift, k, limit: limit.unsigned_abs() })
        }
        Op::Relu => elementwise(Comparison::Relu { bits }),
        Op::Step => elementwise(Comparison::Step { bits, k }),
        Op::Extend => elementwise(Comparison::Extend { bits, k, sign: operand.sign }),
        Op::Mul if value.operands.first() == value.operands.get(1) => elementwise(Comparison::Square { bits }),
        Op::Mul => elementwise(Comparison::Mul { bits }),
        Op::Piecewise(function) => Some(Nonlinear::Piecewise { bits, function: function.clone(), elements }),
        Op::MaxPool(window) => {
            let input = operand.shape.as_slice().try_into().ok()?;
            Some(Nonlinear::MaxPool { bits, window: window.clone(), input })
        }
        Op::ArgMax => Some(Nonlinear::ArgMax { bits, index_bits: k, classes: operand.len() }),
        Op::TopK { k: top } => {
            Some(Nonlinear::TopK { bits, index_bits: k, classes: operand.len(), k: usize::from(*top) })
        }
        Op::Input(_) | Op::Mix(_) | Op::Check | Op::Reshape | Op::Truncate | Op::ShiftLeft { .. } => None,
        Op::Scale { .. } | Op::Offset { .. } | Op::Bias { .. } | Op::Add | Op::Concat { .. } => None,
        Op::Transpose { .. } | Op::SumPool(_) | Op::Slice { .. } | Op::Pad { .. } | Op::Paths(_) => None,
        Op::Conv(_) | Op::Dense { .. } | Op::MatMul | Op::Reveal(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_ir::text::parse;

    #[test]
    fn a_square_has_one_cross_term() {
        let bytes = |second: &str| {
            let text = format!(
                "function \"f\"\nv0 = input : i25.0~11[96] \"\"\nv1 = scale v0 factor=-1 : i25.0~11[96] \"\"\n\
                 v2 = mul v0, {second} : i25.0~22[96] \"\"\n"
            );
            let function = parse(&text).unwrap();
            let Some(Nonlinear::Elementwise { comparison, .. }) = nonlinear(&function, ValueId(2)) else { panic!() };
            let by = FAMILIES[0].compare(candidates(&Op::Relu)[0]).unwrap();
            (comparison, by.protocols().cost(&Nonlinear::Elementwise { comparison, elements: 96 }, 1).both_ways())
        };
        let [(square, less), (product, more)] = ["v0", "v1"].map(bytes);
        assert_eq!((square, product), (Comparison::Square { bits: 25 }, Comparison::Mul { bits: 25 }));
        assert!(2 * less < more, "{less} {more}");
    }

    #[test]
    fn local_operations_are_free_and_the_others_are_not() {
        let function = parse(
            "function \"f\"\nweight @w0 \"w\" : i8.0[4,8]\nv0 = input : i20.0~9[8] \"\"\n\
             v1 = shift_left v0 by=1 : i20.1~10[8] \"\"\nv2 = dense v1, @w0 : i20.1~18[4] \"\"\n\
             v3 = requant_relu v2 shift=4 : i16.-3~14+[4] \"\"\nv4 = extend v3 : i20.-3~14+[4] \"\"\n\
             v5 = argmax v4 : i3.0~2+[1] \"\"\nv6 = fusion.reveal v5 what=label : i3.0~2+[1] \"\"\n",
        )
        .unwrap();
        let steps = Steps::of(&function).unwrap();
        let messages: Vec<usize> = steps.iter().map(|step| step.cost(Keys::Position, 3).messages.len()).collect();
        assert_eq!(messages[..3], [0, 0, 2]);
        assert!(messages[3..6].iter().all(|n| *n >= 2), "{messages:?}");
        let reveal = steps.get(ValueId(6)).cost(Keys::Position, 3);
        assert_eq!((reveal.messages.len(), reveal.bytes(Party::Server)), (1, 2 + 8), "nine bits and a header");
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
            let steps = Steps::of(&function).unwrap();
            let layer = steps.get(ValueId(1)).cost(keys, 2);
            (steps.shared(keys).begin(2).messages.len(), layer.messages.len(), layer.bytes(Party::Server))
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
    fn products_of_secret_matrices_are_never_computed_ahead() {
        let text = "function \"f\"\nweight @w0 \"w\" : i8.0[64,64,1,1]\nv0 = input : i26.0~9[64,8,8] \"\"\n\
                    v1 = conv v0, @w0 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : \
                    i26.0~18[64,8,8] by cheetah \"\"\n\
                    v2 = mat_mul v0, v0 : i26.0~18[64,8,8] by cheetah \"\"\n";
        // By family of the convolution and of the product: what begins a micro-batch's layers, what
        // begins those on masks, and pairs of keys.
        let key = |packs| if packs { [1, 0] } else { [0, 1] };
        for (layer, product) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut function = parse(text).unwrap();
            for (at, packs) in [(1, layer), (2, product)] {
                let Backend::Cheetah(choices) = &mut function.values[at].backend else { unreachable!() };
                choices.output_packing = packs;
            }
            let steps = Steps::of(&function).unwrap();
            let masked: Vec<bool> = steps.iter().map(|step| step.masked(Keys::Ahead).is_some()).collect();
            assert_eq!(masked, [false, true, false]);
            assert!(steps.iter().all(|step| step.masked(Keys::Layer).or(step.masked(Keys::Position)).is_none()));
            let [_, conv, mat_mul] = [0, 1, 2].map(|at| steps.get(ValueId(at)));
            assert_eq!(mat_mul.cost(Keys::Ahead, 2), mat_mul.cost(Keys::Layer, 2));
            assert_eq!(conv.cost(Keys::Ahead, 2).messages.len(), 1);

            let shared = steps.shared(Keys::Ahead);
            assert_eq!((shared.public_keys, shared.levels > 0), (product, product));
            assert_eq!(shared.ahead.map(|levels| levels > 0), Some(layer));
            // Layers on masks share no keys with others.
            assert_eq!(Keys::Ahead.pairs(&steps), 2);
            let begun = |cost: Cost| usize::from(!cost.messages.is_empty());
            assert_eq!([begun(shared.begin(1)), mat_mul.cost(Keys::Ahead, 1).messages.len() - 2], key(product));
            let ahead = steps.ahead(Keys::Ahead, 1);
            assert_eq!((ahead.len(), begun(ahead[0].clone())), (3, usize::from(layer)));
            assert_eq!(ahead[1].messages.len(), 2 - usize::from(layer), "{ahead:?}");
        }
        // Without linear layers there is nothing to compute ahead.
        let only = "function \"f\"\nv0 = input : i26.0~9[64,8,8] \"\"\nv1 = mat_mul v0, v0 : i26.0~18[64,8,8] by cheetah \"\"\n";
        let steps = Steps::of(&parse(only).unwrap()).unwrap();
        assert_eq!(steps.shared(Keys::Ahead), steps.shared(Keys::Layer));
        assert_eq!(steps.ahead(Keys::Ahead, 1), Vec::new());
    }

    /// Each by its own protocols: what one family cannot carry is no matter to another.
    #[test]
    fn everything_that_cannot_be_carried_is_named() {
        let text = |backend: &str| {
            format!(
                "function \"f\"\nweight @w0 \"w\" : i8.0[4,8]\nweight @w1 \"x\" : i16.0[3,60000]\n\
                 v0 = input : i40.0~9[8] \"\"\nv1 = dense v0, @w0 : i40.0~18[4] by {backend} \"first\"\n\
                 v2 = truncate v1 : i34.0~18[4] \"\"\nv3 = pad v2 before=[0] after=[59996] : i34.0~18[60000] \"\"\n\
                 v4 = dense v3, @w1 : i34.0~33[3] by {backend} \"second\"\n"
            )
        };
        let refused = |backend: &str| Steps::of(&parse(&text(backend)).unwrap()).unwrap_err();
        let by_cheetah = refused("cheetah");
        assert_eq!(by_cheetah.len(), 2);
        let found = |at: usize| (by_cheetah[at].value, by_cheetah[at].op, by_cheetah[at].node.as_str());
        assert_eq!([found(0), found(1)], [(ValueId(1), "dense", "first"), (ValueId(4), "dense", "second")]);
        assert_eq!(by_cheetah[0].why, Refusal::Accumulator(40));
        assert!(by_cheetah[1].to_string().starts_with("dense second: "), "{}", by_cheetah[1]);
        assert!(
            refused("garbled")
                .iter()
                .all(|unsupported| unsupported.why.to_string() == "garbled circuits have no linear layers")
        );
        assert!(Steps::of(&parse(&text("crypt_flow2-ot")).unwrap()).is_ok());
    }

    #[test]
    fn every_operation_that_is_not_local_has_candidates_by_its_default_family_first() {
        let relu = candidates(&Op::Relu);
        assert_eq!(relu.first(), Some(&Backend::Cheetah(Default::default())));
        assert_eq!((relu.len(), candidates(&Op::Add).len()), (7, 0));
        let reveal = candidates(&Op::Reveal(fusion_ir::op::Reveal::Label));
        assert_eq!(reveal, [Backend::Cheetah(Default::default())]);
    }
}
