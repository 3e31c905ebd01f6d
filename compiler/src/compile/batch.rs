//! Models whose batch axis is fixed to several samples: whether each is answered by itself.

use super::Options;
use super::given::{network, read_samples};
use crate::import::{self, Batch, Input};
use crate::oracle::{Answer, Oracle};
use crate::setting::Setting;
use crate::{Error, Unsupported};

/// Whether a model whose batch axis is fixed to several samples answers each by itself, by tract on
/// a few calibration samples: so many of them as it takes, `None` for other models.
///
/// # Errors
/// [`Error::Unsupported`] if it does not, or if tract cannot say, and as
/// [`compile`](super::compile()).
pub fn fixed_batch(options: &Options) -> Result<Option<usize>, Error> {
    let Some(batch) = import::batch(&options.model, &options.part(), options.memory)? else { return Ok(None) };
    batch.checked(options)?;
    Ok(Some(batch.samples))
}

impl Batch {
    /// Accepts a model whose input holds several samples if each row of its answers is that of its
    /// sample by itself.
    pub(super) fn rows_apart(
        &self,
        options: &Options,
        inputs: &[Input],
        samples: &[Vec<f32>],
        answers: &[Answer],
    ) -> Result<(), Error> {
        options.memory.samples(self.samples, inputs.iter().map(Input::len).sum()).map_err(|why| self.unknown(&why))?;
        let several = |input: &Input| {
            let shape = [&[self.samples], input.shape.get(1..).unwrap_or_default()].concat();
            Input { shape, ..input.clone() }
        };
        let inputs: Vec<Input> = inputs.iter().map(several).collect();
        let together: Vec<Vec<f32>> = samples.iter().cycle().take(self.samples).cloned().collect();
        let oracle = Oracle::open(&options.model, &inputs, &options.part());
        let found = oracle.and_then(|oracle| oracle.together(&together)).map_err(|why| self.unknown(&why))?;
        if found.iter().zip(answers.iter().cycle()).all(|(together, alone)| together.resembles(alone)) {
            return Ok(());
        }
        Err(self.refuse("the answer to a sample depends on the others beside it: export it for one sample".into()))
    }

    /// As [`Self::rows_apart`], on a few samples.
    fn checked(&self, options: &Options) -> Result<(), Error> {
        let network = network(options)?;
        let mut samples = read_samples(options, &network.graph, &network)?.calibration.samples;
        samples.truncate(self.samples);
        let oracle = Oracle::open(&options.model, &network.inputs, &options.part());
        let answers = oracle.and_then(|oracle| oracle.run(&samples, &|_| ())).map_err(|why| self.unknown(&why))?;
        self.rows_apart(options, &network.inputs, &samples, &answers)
    }

    pub(super) fn unknown(&self, why: &str) -> Error {
        self.refuse(format!(
            "tract cannot say whether its rows are independent ({why}): export it for one sample, or give what it answers for the \
             samples of {} with {}",
            Setting::Calibrate,
            Setting::Expected
        ))
    }

    fn refuse(&self, why: String) -> Error {
        let Batch { input, samples } = self;
        let why = format!("its batch axis is fixed to {samples}, and {why}");
        Error::Unsupported(vec![Unsupported { node: input.clone(), op: "input".into(), why }])
    }
}
