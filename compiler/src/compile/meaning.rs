//! What the model means, said by somebody who does not know what was imported.

use fusion_ir::op::Reveal;
use fusion_table::Classes;

use super::Options;
use crate::agreement::Reference;
use crate::import::{self, Imported};
use crate::oracle::{self, Answer, Oracle};
use crate::progress::Progress;
use crate::quantise::calibrate::Calibration;
use crate::setting::Setting;
use crate::{Error, compare};

/// What the model answers for the calibration samples, by somebody who does not know what was
/// imported.
pub(super) struct Meaning {
    pub reference: Reference,
    pub answers: Option<Vec<Answer>>,
}

impl Meaning {
    pub(super) fn of(
        options: &Options,
        network: &Imported,
        calibration: &Calibration,
        classes: Classes<'_>,
        progress: &Progress,
    ) -> Result<Meaning, Error> {
        if let Some(path) = &options.checks.expected {
            if options.calibrate.is_none() {
                return Err(Error::Usage(format!(
                    "{} needs {}: they are the outputs for its samples",
                    Setting::Expected,
                    Setting::Calibrate
                )));
            }
            let mut answers = match options.reveal {
                Reveal::Value => compare::expected_values(path, calibration.total, classes.count)?,
                _ => compare::expected(path, calibration.total, classes)?,
            };
            answers.truncate(calibration.samples.len());
            return Ok(Meaning { reference: Reference::Expected, answers: Some(answers) });
        }
        if network.prefix.is_some() {
            let why = "the client does its first steps itself".into();
            return Ok(Meaning { reference: Reference::Imported(why), answers: None });
        }
        let inputs = &network.inputs;
        let batch = import::batch(&options.model, &options.part(), options.memory)?;
        let samples = calibration.samples.len();
        let told = |done: usize| progress("float model", done, samples);
        let oracle = Oracle::open(&options.model, inputs, &options.part());
        Ok(match oracle.and_then(|oracle| oracle.run(&calibration.samples, &told)) {
            Ok(answers) => {
                batch.map_or(Ok(()), |batch| batch.rows_apart(options, inputs, &calibration.samples, &answers))?;
                // A label of the model's is the number that it calls the class.
                let named = |answer| match answer {
                    Answer::Label(name) => Answer::Label(classes.number(name)),
                    scores => scores,
                };
                Meaning { reference: Reference::Tract, answers: Some(answers.into_iter().map(named).collect()) }
            }
            Err(why) => match batch {
                Some(batch) => return Err(batch.unknown(&why)),
                None => Meaning { reference: Reference::Imported(why), answers: None },
            },
        })
    }

    pub(super) fn first_lost(&self, options: &Options, network: &Imported, sample: &[f32]) -> Option<String> {
        (self.reference == Reference::Tract)
            .then(|| oracle::first_lost(&options.model, &network.inputs, &network.graph, sample))?
    }
}
