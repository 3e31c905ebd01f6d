//! NumPy's `.npy` files, as far as people keep samples and labels in them.
//!
//! A file is bytes from anywhere: nothing is allocated on the word of its header, and a number is
//! converted only if it keeps its meaning. The format is NumPy's NEP 1, versions 1 to 3.

use half::f16;

/// Why a file is no array of numbers as they are needed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NpyError {
    /// Something else than an `.npy` file.
    #[error("not a readable .npy file: {0}")]
    Format(&'static str),
    /// The elements are of no type that stands for numbers.
    #[error("elements of type '{found}', but {needed} is needed")]
    Type {
        /// What the file says.
        found: String,
        /// What would do.
        needed: &'static str,
    },
    /// The file ends before the last element.
    #[error("it is truncated: shape {shape:?} of {element} takes {needed} bytes, {found} are there")]
    Truncated {
        /// The shape that the header promises.
        shape: Vec<usize>,
        /// The elements' type.
        element: String,
        /// Bytes of that many elements; all ones if there are more.
        needed: usize,
        /// Bytes behind the header.
        found: usize,
    },
    /// A number that the type in use does not hold.
    #[error("element {index} is {value}, which {kind} does not hold")]
    Loss {
        /// Its index in row-major order.
        index: usize,
        /// The number.
        value: String,
        /// The type in use.
        kind: &'static str,
    },
}

/// What one element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Float(usize),
    Signed(usize),
    Unsigned(usize),
    Bool,
}

/// A file whose header is read and whose length is checked.
#[derive(Clone, Debug)]
pub struct Npy<'b> {
    element: Element,
    descr: String,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
    data: &'b [u8],
}

impl<'b> Npy<'b> {
    /// Reads the header and checks that exactly the elements it promises follow.
    ///
    /// # Errors
    /// [`NpyError`] says what is wrong.
    pub fn parse(bytes: &'b [u8]) -> Result<Npy<'b>, NpyError> {
        let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or(NpyError::Format("it does not begin like one"))?;
        let short = || NpyError::Format("its header is cut off");
        let (len, rest) = match rest.first() {
            Some(1) => rest.get(2..4).map(|len| usize::from(u16::from_le_bytes([len[0], len[1]]))).zip(rest.get(4..)),
            Some(2 | 3) => {
                let len = rest.get(2..6).map(|len| u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize);
                len.zip(rest.get(6..))
            }
            Some(_) => return Err(NpyError::Format("a version that nobody knows")),
            None => None,
        }
        .ok_or_else(short)?;
        let (header, data) = rest.split_at_checked(len).ok_or_else(short)?;
        let header = std::str::from_utf8(header).map_err(|_| NpyError::Format("its header is no text"))?;
        let Header { descr, fortran, shape } =
            Header::parse(header).ok_or(NpyError::Format("its header is no array's"))?;
        let (big_endian, element) = element(&descr)
            .ok_or_else(|| NpyError::Type { found: descr.clone(), needed: "a float, an integer or bool" })?;
        let needed = shape.iter().try_fold(element.bytes(), |bytes, extent| bytes.checked_mul(*extent));
        match needed {
            Some(needed) if needed == data.len() => Ok(Npy { element, descr, big_endian, fortran, shape, data }),
            Some(needed) if needed < data.len() => Err(NpyError::Format("bytes follow its last element")),
            _ => Err(NpyError::Truncated {
                shape,
                element: descr,
                needed: needed.unwrap_or(usize::MAX),
                found: data.len(),
            }),
        }
    }

    /// The extents.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether its elements are integers.
    pub fn is_integer(&self) -> bool {
        matches!(self.element, Element::Signed(_) | Element::Unsigned(_))
    }

    /// The elements in row-major order as float32. Wider floats are rounded to the nearest one,
    /// which may be infinite only if they are.
    ///
    /// # Errors
    /// [`NpyError::Loss`] for a number beyond float32, and for an integer that is not one of its
    /// numbers, whatever type it has.
    pub fn reals(&self) -> Result<Vec<f32>, NpyError> {
        let lost = |index: usize, value: String| NpyError::Loss { index, value, kind: "float32" };
        match self.element {
            Element::Float(4) => self.each(|_, bytes| Ok(f32::from_le_bytes(array(bytes)))),
            Element::Float(2) => self.each(|_, bytes| Ok(f16::from_le_bytes(array(bytes)).to_f32())),
            Element::Float(_) => self.each(|index, bytes| {
                let wide = f64::from_le_bytes(array(bytes));
                float32(wide).ok_or_else(|| lost(index, wide.to_string()))
            }),
            Element::Bool => self.each(|_, bytes| Ok(if bytes[0] == 0 { 0.0 } else { 1.0 })),
            Element::Signed(_) | Element::Unsigned(_) => self.each(|index, bytes| {
                let wide = self.integer(bytes);
                float32_of_integer(wide).ok_or_else(|| lost(index, wide.to_string()))
            }),
        }
    }

    /// The elements in row-major order as float64; integers that it does not hold are rounded.
    ///
    /// # Errors
    /// None so far.
    pub fn doubles(&self) -> Result<Vec<f64>, NpyError> {
        match self.element {
            Element::Float(8) => self.each(|_, bytes| Ok(f64::from_le_bytes(array(bytes)))),
            Element::Signed(_) | Element::Unsigned(_) => self.each(|_, bytes| Ok(self.integer(bytes) as f64)),
            Element::Float(_) | Element::Bool => Ok(self.reals()?.into_iter().map(f64::from).collect()),
        }
    }

    /// The elements in row-major order as int64, if they are integers.
    ///
    /// # Errors
    /// [`NpyError::Type`] if they are not, [`NpyError::Loss`] if one is beyond int64.
    pub fn integers(&self) -> Result<Vec<i64>, NpyError> {
        if !self.is_integer() {
            return Err(NpyError::Type { found: self.descr.clone(), needed: "int64" });
        }
        self.each(|index, bytes| {
            let wide = self.integer(bytes);
            i64::try_from(wide).map_err(|_| NpyError::Loss { index, value: wide.to_string(), kind: "int64" })
        })
    }

    /// An element of at most 8 little-endian bytes.
    fn integer(&self, bytes: &[u8]) -> i128 {
        let unsigned = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let unused = 64 - 8 * bytes.len() as u32;
        match self.element {
            Element::Signed(_) => i128::from((unsigned << unused) as i64 >> unused),
            _ => i128::from(unsigned),
        }
    }

    /// What `read` makes of every element's index and little-endian bytes, in row-major order.
    fn each<T>(&self, read: impl Fn(usize, &[u8]) -> Result<T, NpyError>) -> Result<Vec<T>, NpyError> {
        let size = self.element.bytes();
        let count = self.data.len() / size;
        let mut reversed = [0; 8];
        let mut one = |index: usize, at: usize| {
            let bytes = &self.data[at * size..][..size];
            if !self.big_endian {
                return read(index, bytes);
            }
            let reversed = &mut reversed[..size];
            reversed.copy_from_slice(bytes);
            reversed.reverse();
            read(index, reversed)
        };
        if !self.fortran {
            return (0..count).map(|index| one(index, index)).collect();
        }
        // Fortran's order lets the first axis run fastest.
        let mut at = vec![0usize; self.shape.len()];
        let mut elements = Vec::with_capacity(count);
        for index in 0..count {
            let place = at.iter().zip(&self.shape).rev().fold(0, |place, (i, extent)| place * extent + i);
            elements.push(one(index, place)?);
            for axis in (0..at.len()).rev() {
                at[axis] += 1;
                if at[axis] < self.shape[axis] {
                    break;
                }
                at[axis] = 0;
            }
        }
        Ok(elements)
    }
}

/// The float32 next to `wide`; none for what is finite and beyond float32, and for an integer that
/// is not one of its numbers.
pub fn float32(wide: f64) -> Option<f32> {
    let real = wide as f32;
    let beyond = wide.is_finite() && (!real.is_finite() || real == 0.0 && wide != 0.0);
    let whole = wide.fract() == 0.0 && f64::from(real) != wide;
    (!beyond && !whole).then_some(real)
}

/// The float32 that is `wide`; none if no one is.
pub fn float32_of_integer(wide: i128) -> Option<f32> {
    let real = wide as f32;
    (real as i128 == wide).then_some(real)
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Element::Float(bytes) | Element::Signed(bytes) | Element::Unsigned(bytes) => bytes,
            Element::Bool => 1,
        }
    }
}

/// Whether the bytes are big-endian, and what they are, as NumPy's type strings say it.
fn element(descr: &str) -> Option<(bool, Element)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let big_endian = match order {
        "<" | "|" | "=" => false,
        ">" => true,
        _ => return None,
    };
    let element = match kind {
        "f2" => Element::Float(2),
        "f4" => Element::Float(4),
        "f8" => Element::Float(8),
        "i1" => Element::Signed(1),
        "i2" => Element::Signed(2),
        "i4" => Element::Signed(4),
        "i8" => Element::Signed(8),
        "u1" => Element::Unsigned(1),
        "u2" => Element::Unsigned(2),
        "u4" => Element::Unsigned(4),
        "u8" => Element::Unsigned(8),
        "b1" => Element::Bool,
        _ => return None,
    };
    Some((big_endian, element))
}

/// A Python dictionary with three entries.
struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Option<Header> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim_start();
        while !rest.is_empty() {
            let (key, value) = quoted(rest)?;
            let value = value.trim_start().strip_prefix(':')?.trim_start();
            rest = match key {
                // Structured types are lists; what they are is said as far as it goes.
                "descr" if value.starts_with('[') => {
                    let end = value.rfind(']')? + 1;
                    descr = Some(value[..end].to_owned());
                    &value[end..]
                }
                "descr" => {
                    let (name, rest) = quoted(value)?;
                    descr = Some(name.to_owned());
                    rest
                }
                "fortran_order" => {
                    let known = [("True", true), ("False", false)];
                    let (rest, order) = known.iter().find_map(|(name, is)| Some((value.strip_prefix(name)?, *is)))?;
                    fortran = Some(order);
                    rest
                }
                "shape" => {
                    let (extents, rest) = value.strip_prefix('(')?.split_once(')')?;
                    let extents = extents.split(',').map(str::trim).filter(|extent| !extent.is_empty());
                    // Files of Python 2 have long integers.
                    let extent = |text: &str| text.strip_suffix('L').unwrap_or(text).parse().ok();
                    shape = Some(extents.map(extent).collect::<Option<Vec<usize>>>()?);
                    rest
                }
                _ => return None,
            };
            rest = rest.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        Some(Header { descr: descr?, fortran: fortran?, shape: shape? })
    }
}

/// A Python string at the beginning of `text`, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// The bytes of one element; the caller knows how many there are.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let len = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
    }

    fn reals(descr: &str, shape: &str, data: &[u8]) -> Result<Vec<f32>, NpyError> {
        Npy::parse(&file(descr, "False", shape, data)).and_then(|npy| npy.reals())
    }

    /// The bytes of `numpy.save` for `numpy.array([[1, 2, 3], [4, 5, 6]], "<f4", order="F")`, by
    /// NumPy 2.3.
    #[test]
    fn numpys_own_file_in_fortran_order_is_read() {
        let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }";
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        bytes.extend(format!("{header:<117}\n").bytes());
        bytes.extend([1f32, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|x| x.to_le_bytes()));
        let npy = Npy::parse(&bytes).unwrap();
        assert_eq!((npy.shape(), npy.is_integer()), (&[2, 3][..], false));
        assert_eq!(npy.reals().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn every_type_of_number_becomes_float32() {
        assert_eq!(reals("<f2", "(2,)", &[0x00, 0x3c, 0x00, 0xc1]), Ok(vec![1.0, -2.5]));
        assert_eq!(reals(">f4", "(1,)", &1.5f32.to_be_bytes()), Ok(vec![1.5]));
        assert_eq!(reals("<f8", "(1,)", &0.1f64.to_le_bytes()), Ok(vec![0.1]));
        assert_eq!(reals("|i1", "(2,)", &[0xff, 5]), Ok(vec![-1.0, 5.0]));
        assert_eq!(reals("|u1", "(2, 1)", &[0xff, 5]), Ok(vec![255.0, 5.0]));
        assert_eq!(reals(">i2", "(1,)", &(-300i16).to_be_bytes()), Ok(vec![-300.0]));
        assert_eq!(reals("<u8", "(1,)", &(1u64 << 60).to_le_bytes()), Ok(vec![2f32.powi(60)]));
        assert_eq!(reals("|b1", "(2,)", &[0, 1]), Ok(vec![0.0, 1.0]));
        assert_eq!(reals("<f4", "()", &2f32.to_le_bytes()), Ok(vec![2.0]));
        assert!(reals("<f8", "(1,)", &f64::NAN.to_le_bytes()).unwrap()[0].is_nan());
    }

    #[test]
    fn numbers_that_float32_does_not_hold_are_refused() {
        let lost = |descr: &str, data: &[u8]| reals(descr, "(1,)", data).unwrap_err().to_string();
        assert_eq!(lost("<i4", &16_777_217i32.to_le_bytes()), "element 0 is 16777217, which float32 does not hold");
        assert_eq!(lost("<f8", &16_777_217f64.to_le_bytes()), "element 0 is 16777217, which float32 does not hold");
        assert!(lost("<f8", &1e39f64.to_le_bytes()).contains("does not hold"));
        assert!(lost("<f8", &1e-60f64.to_le_bytes()).contains("does not hold"));
        assert!(lost("<u8", &u64::MAX.to_le_bytes()).contains("18446744073709551615"));
    }

    #[test]
    fn labels_are_integers_of_any_width() {
        let read =
            |descr: &str, data: &[u8]| Npy::parse(&file(descr, "False", "(1,)", data)).and_then(|npy| npy.integers());
        assert_eq!(read("<i8", &(-7i64).to_le_bytes()), Ok(vec![-7]));
        assert_eq!(read("|u1", &[200]), Ok(vec![200]));
        assert!(read("<u8", &u64::MAX.to_le_bytes()).unwrap_err().to_string().contains("int64 does not hold"));
        assert!(read("<f4", &1f32.to_le_bytes()).unwrap_err().to_string().contains("<f4"));
    }

    #[test]
    fn nothing_is_allocated_on_the_headers_word() {
        let about = |bytes: &[u8]| Npy::parse(bytes).unwrap_err().to_string();
        let promise = about(&file("<f4", "False", "(1000000000000, 3)", &[0; 8]));
        assert_eq!(promise, "it is truncated: shape [1000000000000, 3] of <f4 takes 12000000000000 bytes, 8 are there");
        assert!(about(&file("<f8", "False", "(18446744073709551615, 9)", &[])).contains("truncated"));
        assert!(about(&file("<f4", "False", "(1,)", &[0; 5])).contains("bytes follow"));
        // A header of four gigabytes that is not there.
        assert!(about(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'").contains("cut off"));
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused() {
        let about = |bytes: &[u8]| Npy::parse(bytes).unwrap_err().to_string();
        for bytes in [&b""[..], b"GIF89a", b"\x93NUMPY", b"\x93NUMPY\x09\x00\x00\x00", b"\x93NUMPY\x01\x00\x02\x00{}"] {
            assert!(about(bytes).starts_with("not a readable .npy file"), "{bytes:?}");
        }
        assert!(about(&file("|O", "False", "(1,)", &[0; 8])).contains("|O"));
        assert!(about(&file("<c8", "False", "(1,)", &[0; 8])).contains("<c8"));
        assert!(about(&file("<f4", "Maybe", "(1,)", &[0; 4])).contains("header"));
        assert!(about(&file("<f4", "False", "(-1,)", &[0; 4])).contains("header"));
    }
}
