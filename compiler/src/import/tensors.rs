//! Stored tensors: initializers and constants, in the model or in a file beside it.

use std::path::Path;

use fusion_table::contain::contain;
use tract_onnx::pb::{TensorProto, tensor_proto::DataLocation, tensor_proto::DataType};
use tract_onnx::prelude::{DatumType, Tensor};
use tract_onnx::tensor::load_tensor;

/// The names of ONNX's element types, by their numbers.
const TYPES: &[&str] = &[
    "undefined",
    "float32",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "string",
    "bool",
    "float16",
    "float64",
    "uint32",
    "uint64",
    "complex64",
    "complex128",
    "bfloat16",
    "float8e4m3fn",
    "float8e4m3fnuz",
    "float8e5m2",
    "float8e5m2fnuz",
    "uint4",
    "int4",
    "float4e2m1",
    "float8e8m0",
    "uint2",
    "int2",
];

/// An element type in messages.
pub(super) fn type_name(data_type: i32) -> String {
    let known = usize::try_from(data_type).ok().and_then(|at| TYPES.get(at));
    known.map_or_else(|| format!("number {data_type}"), |name| (*name).to_string())
}

/// How many bytes the tensor takes once it is loaded, whatever is really stored.
///
/// # Errors
/// A phrase that follows its name, if its extents are none.
pub(super) fn size(tensor: &TensorProto) -> Result<u64, String> {
    let each = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Uint8 | DataType::Int8 | DataType::Bool) => 1,
        Ok(DataType::Uint16 | DataType::Int16 | DataType::Float16) => 2,
        Ok(DataType::Float | DataType::Uint32 | DataType::Int32 | DataType::Bfloat16) => 4,
        _ => 8,
    };
    let elements = tensor.dims.iter().try_fold(1u64, |n, extent| n.checked_mul(u64::try_from(*extent).ok()?));
    let bytes = elements.and_then(|n| n.checked_mul(each));
    bytes.ok_or_else(|| format!("({}) has the shape {:?}", type_name(tensor.data_type), tensor.dims))
}

/// The tensor; bfloat16 becomes float32, which holds it exactly. `directory` is the model's.
///
/// # Errors
/// What is wrong with it, as a phrase that follows its name.
pub(super) fn load(tensor: &TensorProto, directory: Option<&Path>) -> Result<Tensor, String> {
    let name = type_name(tensor.data_type);
    let supported = matches!(
        DataType::try_from(tensor.data_type),
        Ok(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16 | DataType::Bool)
            | Ok(DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64)
            | Ok(DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::String)
    );
    if !supported {
        return Err(format!("is of type {name}, which is not supported: store it as float32"));
    }
    let needed = tensor.dims.iter().try_fold(1usize, |n, extent| n.checked_mul(usize::try_from(*extent).ok()?));
    let needed = needed.ok_or_else(|| format!("({name}) has the shape {:?}", tensor.dims))?;
    let mut proto = tensor.clone();
    proto.name.clear();
    if external(tensor) {
        present(tensor, &name, directory)?;
    }
    let narrow = DataType::try_from(tensor.data_type) == Ok(DataType::Bfloat16);
    if narrow {
        proto.data_type = DataType::Uint16 as i32;
    }
    // Unsigned numbers that are not raw bytes are in a field of their own.
    let unsigned = [DataType::Uint32 as i32, DataType::Uint64 as i32].contains(&tensor.data_type);
    if unsigned && tensor.raw_data.is_empty() && !external(tensor) {
        let size = if tensor.data_type == DataType::Uint32 as i32 { 4 } else { 8 };
        proto.raw_data = tensor.uint64_data.iter().flat_map(|x| x.to_le_bytes()[..size].to_vec()).collect();
    }
    let directory = directory.and_then(Path::to_str);
    // tract is not trusted with hostile files: a panic there is a corrupt model here.
    let provider = tract_onnx::onnx().provider;
    let loaded = contain(|| load_tensor(&*provider, &proto, directory));
    let loaded = loaded.and_then(Result::ok).filter(|found| found.len() == needed);
    let loaded = loaded.ok_or_else(|| format!("({name}) holds other data than its {needed} elements"))?;
    if narrow { widened(&loaded) } else { Ok(loaded) }
}

/// The first element that is not a number, and what it is.
pub(super) fn first_nan(tensor: &Tensor) -> Option<usize> {
    if !matches!(tensor.datum_type(), DatumType::F16 | DatumType::F32 | DatumType::F64) {
        return None;
    }
    let tensor = tensor.cast_to::<f32>().ok()?;
    let view = tensor.to_plain_array_view::<f32>().ok()?;
    view.iter().position(|x| x.is_nan())
}

fn external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32)
}

/// The file that an external tensor lies in is there, beside the model.
fn present(tensor: &TensorProto, name: &str, directory: Option<&Path>) -> Result<(), String> {
    let location = tensor.external_data.iter().find(|entry| entry.key == "location");
    let location = location.map(|entry| entry.value.as_str()).ok_or_else(|| format!("({name}) lies in no file"))?;
    let file = directory.unwrap_or(Path::new("")).join(location);
    match std::fs::metadata(&file) {
        Ok(_) => Ok(()),
        Err(why) => Err(format!("({name}) should lie in {}: {why}", file.display())),
    }
}

/// The bits of bfloat16 numbers as float32: its upper half.
fn widened(bits: &Tensor) -> Result<Tensor, String> {
    let view = bits.to_plain_array_view::<u16>().map_err(|e| e.to_string())?;
    let real: Vec<f32> = view.iter().map(|bits| f32::from_bits(u32::from(*bits) << 16)).collect();
    Tensor::from_shape(bits.shape(), &real).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
        TensorProto { dims: vec![2], data_type: data_type as i32, raw_data, ..TensorProto::default() }
    }

    #[test]
    fn bfloat16_is_the_upper_half_of_float32() {
        let bytes: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_le_bytes()[2..].to_vec()).collect();
        let loaded = load(&tensor(DataType::Bfloat16, bytes), None).unwrap();
        let view = loaded.to_plain_array_view::<f32>().unwrap();
        assert_eq!(view.iter().copied().collect::<Vec<_>>(), [1.5, -2.0]);
    }

    #[test]
    fn unsigned_numbers_are_read_from_their_own_field() {
        let stored = TensorProto { uint64_data: vec![7, 3_000_000_000], ..tensor(DataType::Uint32, Vec::new()) };
        let loaded = load(&stored, None).unwrap();
        assert_eq!(loaded.to_plain_array_view::<u32>().unwrap().iter().max(), Some(&3_000_000_000));
    }

    #[test]
    fn what_cannot_be_loaded_says_why() {
        let why = |tensor: &TensorProto| load(tensor, None).unwrap_err();
        assert!(why(&tensor(DataType::Int4, vec![0x21])).contains("int4"));
        assert!(why(&tensor(DataType::Float, vec![0; 7])).contains("float32"));
        let entry = tract_onnx::pb::StringStringEntryProto { key: "location".into(), value: "gone.data".into() };
        let outside = TensorProto {
            external_data: vec![entry],
            data_location: Some(DataLocation::External as i32),
            ..tensor(DataType::Float, Vec::new())
        };
        assert!(why(&outside).contains("gone.data") && why(&outside).contains("float32"));
    }

    #[test]
    fn nan_is_found_where_it_is() {
        let bytes: Vec<u8> = [1f32, f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(first_nan(&load(&tensor(DataType::Float, bytes), None).unwrap()), Some(1));
    }
}
