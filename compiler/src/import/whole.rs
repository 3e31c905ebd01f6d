//! How large integers get. onnxruntime's have 32 or 64 bits and wrap around beyond; the network's
//! numbers do not. So what may wrap is refused, by a bound that travels with the data.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::Tensor;

/// Integers of 32 or 64 bits, and how large they get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Whole {
    /// `Int32` or `Int64`.
    pub of: DataType,
    /// The largest magnitude.
    most: u128,
}

/// How large integers of the sample are taken to be. Rows are float32, which has every integer up
/// to here and not every one beyond.
pub(super) const GIVEN: u128 = 1 << 24;

impl Whole {
    /// Those of the sample.
    pub const fn given(of: DataType) -> Whole {
        Whole { of, most: GIVEN }
    }

    /// Zeros and ones.
    pub fn truths(of: DataType) -> Whole {
        Whole { of, most: 1 }
    }

    /// None as yet: those of constants are still to come.
    pub fn none(of: DataType) -> Whole {
        Whole { of, most: 0 }
    }

    /// As large as the type holds.
    pub fn any(of: DataType) -> Whole {
        Whole { of, most: (1 << bits(of)) - 1 }
    }

    /// Sums of `terms` products of bytes less a zero point, as far as the type holds them.
    pub fn products_of_bytes(of: DataType, terms: usize) -> Whole {
        Whole { of, most: (255 * 255 * terms as u128).min(Whole::any(of).most) }
    }

    /// What may be one or the other.
    pub fn or(self, other: Whole) -> Whole {
        Whole { of: self.of, most: self.most.max(other.most) }
    }

    /// Some of them may be the integers of a constant.
    pub fn or_constant(self, constant: &Tensor) -> Whole {
        self.or(Whole { of: self.of, most: magnitude(constant) })
    }

    /// Converted to `Int32` or `Int64`.
    ///
    /// # Errors
    /// If they may not fit.
    pub fn converted(self, to: DataType) -> Result<Whole, String> {
        Whole { of: to, most: self.most }.fits()
    }

    /// What `op` makes of several, those of its data first, and constants. `elements` is of how
    /// many data, at most, each result is a sum or a product, if it is one.
    ///
    /// # Errors
    /// If the results may not fit.
    pub fn of_node(op: &str, data: &[Whole], constants: &[&Tensor], elements: usize) -> Result<Whole, String> {
        let Some(first) = data.first() else { return Err("reads no data".into()) };
        let each: Vec<u128> =
            data.iter().map(|whole| whole.most).chain(constants.iter().map(|constant| magnitude(constant))).collect();
        let all = |f: fn(u128, u128) -> u128| each.iter().copied().reduce(f).unwrap_or_default();
        let sum = |most: u128| most.saturating_mul(elements as u128);
        let power = |times: usize| all(u128::max).saturating_pow(u32::try_from(times).unwrap_or(u32::MAX));
        let most = match op {
            "Add" | "Sub" | "Sum" => all(u128::saturating_add),
            "Mul" => all(u128::saturating_mul),
            "MatMul" => sum(all(u128::saturating_mul)),
            "CumSum" | "ReduceSum" | "ReduceL1" => sum(all(u128::max)),
            "ReduceSumSquare" => sum(power(2)),
            "ReduceProd" => power(elements),
            // Between two limits there is nothing else.
            "Clip" if constants.len() == 2 => constants.iter().map(|limit| magnitude(limit)).max().unwrap_or_default(),
            "Abs" | "Clip" | "Max" | "MaxPool" | "Min" | "Neg" | "ReduceMax" | "ReduceMin" | "Relu" => all(u128::max),
            "Sign" => 1,
            _ => return Err("it is not supported on integers: convert them to float first".into()),
        };
        Whole { of: first.of, most }.fits()
    }

    fn fits(self) -> Result<Whole, String> {
        let Whole { of, most } = self;
        if most >> bits(of) == 0 {
            return Ok(self);
        }
        let (name, instead) = match of {
            DataType::Int32 => ("int32", "int64 or float32"),
            _ => ("int64", "float32"),
        };
        Err(format!(
            "its integers may get as large as {most:.2e}, with up to 2^{} in a column, and {name} does not hold that: \
             onnxruntime's would wrap around. Cast to {instead} in front of it, or limit the column with a Clip",
            GIVEN.ilog2(),
            most = most as f64,
        ))
    }
}

/// Of a magnitude in a type.
fn bits(of: DataType) -> u32 {
    if of == DataType::Int32 { 31 } else { 63 }
}

/// The largest magnitude in a constant; 0 of what are no integers.
fn magnitude(constant: &Tensor) -> u128 {
    if !constant.datum_type().is_integer() {
        return 0;
    }
    let Ok(wide) = constant.cast_to::<i64>() else { return u128::MAX };
    let Ok(view) = wide.to_plain_array_view::<i64>() else { return u128::MAX };
    view.iter().map(|c| u128::from(c.unsigned_abs())).max().unwrap_or(0)
}

/// Whether a type of ONNX is one of these.
pub(super) fn is_whole(of: DataType) -> bool {
    matches!(of, DataType::Int32 | DataType::Int64)
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{tensor0, tensor1, tensor2};

    use super::*;

    /// Chains of one column and constants, up to the first step that may wrap.
    fn chain(of: DataType, steps: &[(&str, i64)]) -> Result<Whole, String> {
        steps.iter().try_fold(Whole::given(of), |whole, (op, c)| Whole::of_node(op, &[whole], &[&tensor0(*c)], 1))
    }

    #[test]
    fn sums_of_products_of_bytes_leave_room_for_a_bias() {
        let bias = tensor1(&[1_000_000i32]);
        let sums = |terms| Whole::products_of_bytes(DataType::Int32, terms);
        assert_eq!(sums(768).most, 768 * 255 * 255);
        assert!(Whole::of_node("Add", &[sums(768)], &[&bias], 1).is_ok());
        assert!(Whole::of_node("Add", &[sums(1 << 20)], &[&bias], 1).is_err());
    }

    #[test]
    fn what_may_wrap_is_refused() {
        let (short, long) = (DataType::Int32, DataType::Int64);
        let wraps = |of, steps: &[(&str, i64)]| chain(of, steps).is_err();
        for (factor, too_much) in [(127, false), (128, true), (-128, true), (10_000_000, true)] {
            assert_eq!(wraps(short, &[("Mul", factor)]), too_much, "{factor}");
        }
        let thrice = [("Mul", (1 << 24) - 1); 3];
        assert!(!wraps(long, &thrice[..1]) && wraps(long, &thrice[..2]) && wraps(long, &thrice));
        assert!(wraps(short, &[("Add", i64::from(i32::MAX) - (1 << 24) + 1)]));
        assert!(!wraps(short, &[("Add", i64::from(i32::MAX) - (1 << 24))]));
        assert!(wraps(short, &[("Mul", 100), ("Sub", 1 << 30)]) && !wraps(long, &[("Mul", 100), ("Sub", 1 << 30)]));
        assert!(wraps(short, &[("Mul", 127), ("Abs", 0), ("Neg", 0), ("Mul", 2)]));
        let text = chain(short, &[("Mul", 10_000_000)]).unwrap_err();
        assert!(text.contains("1.68e14") && text.contains("int32") && text.contains("Cast to int64"), "{text}");
        assert!(chain(long, &thrice).unwrap_err().contains("Cast to float32"));
    }

    #[test]
    fn limits_bound_what_follows() {
        let limits = [tensor0(-5i32), tensor0(9i32)];
        let clipped = Whole::of_node("Clip", &[Whole::given(DataType::Int32)], &[&limits[0], &limits[1]], 1).unwrap();
        assert_eq!(clipped.most, 9);
        let above = Whole::of_node("Clip", &[Whole::given(DataType::Int32)], &[&limits[0]], 1).unwrap();
        assert_eq!(above.most, GIVEN);
        let all = Whole::of_node("ReduceSum", &[clipped], &[], 1 << 30);
        assert!(all.is_err() && Whole::of_node("ReduceSum", &[clipped], &[], 100).is_ok());
        assert_eq!(Whole::of_node("CumSum", &[clipped], &[&tensor0(1i32)], 4).unwrap().most, 36);
        let product = Whole::of_node("Mul", &[Whole::given(DataType::Int32); 2], &[], 1);
        assert!(product.is_err() && Whole::of_node("Mul", &[Whole::given(DataType::Int64); 2], &[], 1).is_ok());
        assert_eq!(Whole::truths(DataType::Int64).or_constant(&tensor1(&[3i64, -7])).most, 7);
        assert_eq!(Whole::none(DataType::Int32).or_constant(&tensor1(&[1i32, 0])).most, 1);
    }

    /// What onnxruntime 1.32 makes of int32: -1,294,967,296 of `300 * 10,000,000` by MatMul, and
    /// 2,147,483,647 of two times 50,000 by ReduceSumSquare and ReduceProd.
    #[test]
    fn sums_of_products_and_powers_may_wrap() {
        let most = |most| Whole { of: DataType::Int32, most };
        let of = |op: &str, data: Whole, constants: &[&Tensor], elements: usize| {
            Whole::of_node(op, &[data], constants, elements).map(|whole| whole.most).ok()
        };
        let kernel = tensor2(&[[10_000_000i32], [3]]);
        assert_eq!(of("MatMul", most(300), &[&kernel], 2), None);
        assert_eq!(of("MatMul", most(100), &[&kernel], 2), Some(2_000_000_000));
        assert_eq!([of("ReduceSumSquare", most(50_000), &[], 2), of("ReduceProd", most(50_000), &[], 2)], [None; 2]);
        assert_eq!(of("ReduceSumSquare", most(30_000), &[], 2), Some(1_800_000_000));
        assert_eq!(
            [of("ReduceProd", most(10), &[], 9), of("ReduceProd", most(10), &[], 10)],
            [Some(10u128.pow(9)), None]
        );
        assert_eq!(of("ReduceProd", most(3), &[], usize::MAX), None);
        assert!(Whole::of_node("Add", &[Whole::any(DataType::Int32)], &[&tensor0(1i32)], 1).is_err());
    }

    #[test]
    fn narrower_integers_hold_less() {
        let product = chain(DataType::Int64, &[("Mul", 1000)]).unwrap();
        assert!(product.converted(DataType::Int32).is_err());
        assert!(Whole::given(DataType::Int64).converted(DataType::Int32).is_ok());
    }
}
