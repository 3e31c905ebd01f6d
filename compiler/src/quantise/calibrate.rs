//! Calibration: the samples that formats are chosen on, and the ranges they give.

use std::path::Path;

use crate::nn::Graph;
use crate::nn::eval::{self, Observed};
use crate::{Error, npy};

/// Most samples used; more change ranges little and cost time.
pub const MAX_SAMPLES: usize = 512;
const SYNTHETIC_SAMPLES: usize = 64;
/// Most multiply-accumulates of all synthetic samples together: a large network makes do with fewer of them.
const SYNTHETIC_MACS: usize = 1 << 34;

/// Samples with what they say about the network.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// The samples.
    pub samples: Vec<Vec<f32>>,
    /// How many samples the file holds, used or not.
    pub total: usize,
    /// Whether they are real data; if not, formats are a guess.
    pub real: bool,
}

impl Calibration {
    /// The first [`MAX_SAMPLES`] samples of an `.npy` file.
    ///
    /// # Errors
    /// As [`npy::samples`].
    pub fn from_file(path: &Path, graph: &Graph) -> Result<Self, Error> {
        let mut samples = npy::samples(path, graph.input_shape())?;
        let total = samples.len();
        samples.truncate(MAX_SAMPLES);
        Ok(Calibration { samples, total, real: true })
    }

    /// Made-up samples: smooth and rough, in `0..1` and around zero, the same at every call. Real inputs may differ in every respect.
    pub fn synthetic(graph: &Graph) -> Self {
        let mut noise = Noise(0x5eed);
        let len = graph.nodes[0].len();
        let width = graph.input_shape().last().copied().unwrap_or(1);
        let sample = |index: usize| {
            let mut values: Vec<f32> = (0..len).map(|_| noise.uniform()).collect();
            if index.is_multiple_of(2) {
                smooth(&mut values, width);
            }
            if index % 4 >= 2 {
                values.iter_mut().for_each(|x| *x = (*x - 0.5) * 5.0);
            }
            values
        };
        let total = (SYNTHETIC_MACS / graph.macs().max(1)).clamp(4, SYNTHETIC_SAMPLES);
        Calibration { samples: (0..total).map(sample).collect(), total, real: false }
    }

    /// What the network does on the samples.
    ///
    /// # Errors
    /// [`Error::Usage`] if the network overflows float32 on a sample.
    pub fn observe(&self, graph: &Graph) -> Result<Observed, Error> {
        let Observed { ranges, means, outputs } = eval::observe(graph, &self.samples);
        match ranges.iter().position(|range| !range.magnitude().is_finite()) {
            Some(at) => {
                let name = &graph.nodes[at].name;
                Err(Error::Usage(format!("the calibration samples make node {name:?} overflow float32")))
            }
            None => Ok(Observed { ranges, means, outputs }),
        }
    }
}

/// Averages each element with its neighbours in the row and the row above.
fn smooth(values: &mut [f32], width: usize) {
    for at in 1..values.len() {
        let above = at.checked_sub(width).map_or(values[at - 1], |i| values[i]);
        values[at] = 0.45 * (values[at - 1] + above) + 0.1 * values[at];
    }
}

/// SplitMix64: reproducible noise, nothing secret.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Op;

    #[test]
    fn synthetic_samples_are_reproducible_and_varied() {
        let mut graph = Graph::default();
        graph.push(Op::Input, vec![], vec![1, 8, 8], "x");
        let one = Calibration::synthetic(&graph);
        assert_eq!(one.samples, Calibration::synthetic(&graph).samples);
        assert!(!one.real && one.samples.iter().flatten().all(|x| x.abs() <= 2.5));
        assert!(one.samples.iter().flatten().any(|x| *x < -1.0));
    }
}
