//! How much memory a model may ask for. A few bytes can name any size, so sizes are looked at
//! before anything of that size is made.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use fusion_ir::{Function, Value};

use crate::nn::{Graph, Node, Op};
use crate::setting::Setting;
use crate::{Error, Unsupported};

/// Bytes of one layer that has no weights, roughly: its name, shapes, and what is known of its
/// values on every sample.
const LAYER_BYTES: u64 = 40_000;
/// Bytes of a number while a network is compiled: once in float, once in fixed point.
const NUMBER_BYTES: u64 = 12;
/// Bytes of a number in fixed point.
const FIXED_BYTES: u64 = 8;

/// The most bytes that what a model asks for may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(u64);

impl Default for Memory {
    /// 4 GB.
    fn default() -> Memory {
        Memory(4_000_000_000)
    }
}

impl Memory {
    /// So many bytes.
    pub fn of_bytes(bytes: u64) -> Memory {
        Memory(bytes)
    }

    /// The bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Most layers of a network, before any are joined.
    pub(crate) fn layers(self) -> usize {
        usize::try_from(self.0 / LAYER_BYTES).unwrap_or(usize::MAX)
    }

    /// The whole file, if it fits.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Usage`] if it is larger.
    pub(crate) fn read(self, path: &Path) -> Result<Vec<u8>, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(io)?;
        // Not every file says how long it is.
        file.take(self.0.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > self.0 { Err(self.too_long(path)) } else { Ok(bytes) }
    }

    /// Refuses a data file that is larger, or whose numbers would be.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub(crate) fn admit(self, path: &Path) -> Result<(), Error> {
        let found = std::fs::metadata(path).map_err(|source| Error::Io { path: path.into(), source })?;
        // The bytes and the numbers in them.
        if found.len().saturating_mul(2) > self.0 { Err(self.too_long(path)) } else { Ok(()) }
    }

    fn too_long(self, path: &Path) -> Error {
        Error::Usage(format!("{}: reading it takes more than {} {self}", path.display(), Setting::Memory))
    }

    /// Refuses a network whose weights and values alone take more. The refusal is of the node that
    /// has most of them.
    pub(crate) fn network(self, graph: &Graph) -> Result<(), Unsupported> {
        let size = |node: &Node| NUMBER_BYTES.saturating_mul(node.len() as u64 + node.op.parameters());
        let total = graph.nodes.iter().map(size).fold(0, u64::saturating_add);
        match graph.nodes.iter().max_by_key(|node| size(node)).filter(|_| total > self.0) {
            None => Ok(()),
            Some(most) => Err(Unsupported {
                node: most.name.clone(),
                op: most.op.name().into(),
                why: format!(
                    "weights and values of the network take at least {}, most of them here ({}): more than {} {self}",
                    Memory(total),
                    Memory(size(most)),
                    Setting::Memory,
                ),
            }),
        }
    }

    /// Refuses so many samples of so many numbers.
    pub(crate) fn samples(self, count: usize, numbers: usize) -> Result<(), String> {
        let bytes = NUMBER_BYTES.saturating_mul(count as u64).saturating_mul(numbers as u64);
        if bytes <= self.0 { Ok(()) } else { Err(format!("they take more than {} {self}", Setting::Memory)) }
    }

    /// Refuses a function that takes more to evaluate on `samples` samples at a time.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with the node that has most of it.
    pub fn function(self, function: &Function, samples: usize) -> Result<(), Error> {
        let size = |value: &Value| {
            let weights = value.op.weights().map(|id| function.weight(id).shape.iter().product::<usize>() as u64);
            let values = (value.ty.len() as u64).saturating_mul(samples as u64);
            FIXED_BYTES.saturating_mul(weights.fold(values, u64::saturating_add))
        };
        let weights = function.weights.iter().map(|weight| weight.shape.iter().product::<usize>() as u64);
        let live = (function.most_live() as u64).saturating_mul(samples as u64);
        let total = FIXED_BYTES.saturating_mul(weights.fold(live, u64::saturating_add));
        match function.values.iter().max_by_key(|value| size(value)).filter(|_| total > self.0) {
            None => Ok(()),
            Some(most) => Err(Error::Unsupported(vec![Unsupported {
                node: most.node.clone(),
                op: most.op.name().into(),
                why: format!(
                    "evaluating {samples} samples at a time takes at least {}, most of it here ({}): more than {} {self}",
                    Memory(total),
                    Memory(size(most)),
                    Setting::Memory,
                ),
            }])),
        }
    }
}

impl Op {
    /// Numbers that the operation has of its own.
    pub(crate) fn parameters(&self) -> u64 {
        let count = match self {
            Op::Conv(conv) => conv.weight.len() + conv.bias.len(),
            Op::Dense(dense) => dense.weight.len() + dense.bias.len(),
            Op::Affine(affine) | Op::Mask(affine) => affine.scale.len() + affine.shift.len(),
            _ => 0,
        };
        count as u64
    }
}

impl FromStr for Memory {
    type Err = String;

    /// `4GB`, `500MB`, `64kB` or a number of bytes; powers of ten.
    fn from_str(text: &str) -> Result<Memory, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kb" | "k" => 1e3,
            "mb" | "m" => 1e6,
            "gb" | "g" => 1e9,
            "tb" | "t" => 1e12,
            _ => return Err("a size is a number with kB, MB, GB or TB, such as 4GB".into()),
        };
        let bytes = number.parse::<f64>().map_err(|_| format!("{number:?} is no number"))? * factor;
        if bytes >= 1.0 { Ok(Memory(bytes as u64)) } else { Err("at least one byte is needed".into()) }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = match self.0 {
            0..1_000 => return write!(f, "{}B", self.0),
            1_000..1_000_000 => ("kB", 1e3),
            1_000_000..1_000_000_000 => ("MB", 1e6),
            _ => ("GB", 1e9),
        };
        // At most three decimals, and none that say nothing.
        let number = format!("{:.3}", self.0 as f64 / factor);
        write!(f, "{}{unit}", number.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, written) in [
            ("4GB", 4_000_000_000, "4GB"),
            ("1.5 gb", 1_500_000_000, "1.5GB"),
            ("64kB", 64_000, "64kB"),
            ("500M", 500_000_000, "500MB"),
            ("999", 999, "999B"),
        ] {
            let memory: Memory = text.parse().unwrap();
            assert_eq!((memory.bytes(), memory.to_string().as_str()), (bytes, written));
        }
        for wrong in ["", "GB", "-1GB", "4 apples", "0", "1.2.3MB"] {
            assert!(wrong.parse::<Memory>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_are_read_up_to_the_limit() {
        let path = std::env::temp_dir().join(format!("fusionc-memory-{}", std::process::id()));
        std::fs::write(&path, [7; 100]).unwrap();
        assert_eq!(Memory(100).read(&path).unwrap().len(), 100);
        let refused = Memory(99).read(&path).unwrap_err().to_string();
        assert!(refused.contains("fusionc-memory") && refused.contains("`memory` 99B"), "{refused}");
        assert!(Memory(200).admit(&path).is_ok() && Memory(199).admit(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        // An endless one, where there is one.
        if Path::new("/dev/zero").exists() {
            assert!(Memory(1000).read(Path::new("/dev/zero")).is_err());
        }
    }

    #[test]
    fn networks_and_functions_are_refused_by_their_largest_node() {
        let mut graph = Graph::default();
        let x = graph.push(Op::Input, vec![], vec![10], "x");
        let wide = graph.push(Op::Concat { axis: 0 }, vec![x; 9], vec![90], "wide");
        graph.push(Op::Relu, vec![wide], vec![90], "relu");
        assert_eq!(Memory(190 * NUMBER_BYTES).network(&graph), Ok(()));
        let refused = Memory(190 * NUMBER_BYTES - 1).network(&graph).unwrap_err();
        assert!(["wide", "relu"].contains(&refused.node.as_str()) && refused.why.contains("`memory`"), "{refused}");

        let body = "v0 = input : i8.0~6[3] \"x\"\nv1 = relu v0 : i8.0~6[3] \"r\"\nv2 = concat v1, v1 axis=0 : i8.0~6[6] \"c\"\n";
        let function = fusion_ir::text::parse(&format!("function \"f\"\n{body}")).unwrap();
        // The concatenation and what it reads.
        assert!(Memory(2 * 9 * FIXED_BYTES).function(&function, 2).is_ok());
        let refused = Memory(2 * 9 * FIXED_BYTES - 1).function(&function, 2).unwrap_err().to_string();
        assert!(refused.contains("\"c\"") && refused.contains("`memory` 143B"), "{refused}");
    }
}
