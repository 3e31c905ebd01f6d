//! Errors by blame, as exceptions.

use fusion::setting::{self, named};
use fusion::{CompileError, Error, Setting};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(fusion, FusionError, PyException, "Something that this package was asked for did not happen.");
create_exception!(fusion, UsageError, FusionError, "An argument makes no sense, or none here. Nothing was sent.");
create_exception!(fusion, ModelError, FusionError, "The model is not supported, or is not what its file promises.");
create_exception!(fusion, PeerError, FusionError, "The peer or the connection failed. A session that began counts.");
create_exception!(fusion, StateError, FusionError, "A ledger, a budget or a file cannot be kept.");

/// What a session's error is in Python, with the argument that it is about.
pub fn of_session(error: Error) -> PyErr {
    let text = error.to_string();
    match error.cause() {
        Error::Setting { setting: Setting::Catch, why } => UsageError::new_err(why.clone()),
        Error::Setting { setting, why } => UsageError::new_err(format!("{why}: {}", remedy(*setting))),
        Error::Usage(_) => UsageError::new_err(text),
        Error::Output { .. } | Error::State { .. } => StateError::new_err(text),
        Error::Peer(_) => PeerError::new_err(text),
        _ => FusionError::new_err(text),
    }
}

/// What to do about a setting.
fn remedy(setting: Setting) -> String {
    match setting {
        Setting::Reveal(reveal) => format!("pass reveal=\"{reveal}\" if that is meant"),
        Setting::Memory { streams: 1 } => "pass memory=BYTES".into(),
        Setting::Memory { streams } => format!("pass memory=BYTES, or fewer than {streams} streams"),
        Setting::Credentials => "fusion.keygen makes an identity".into(),
        Setting::Peers => "pass the peer's fingerprint as peers=[...]".into(),
        Setting::Plaintext => "pass identity=... and peers=[...], or allow_plaintext=True for tests".into(),
        _ => "see the documentation".into(),
    }
}

/// A message of the compiler with every setting as its argument, or as the flag of a program that
/// has it.
pub fn in_arguments(message: &str) -> String {
    named(message, |setting| match setting {
        setting::Setting::Calibrate => "calibrate",
        setting::Setting::Expected => "expected",
        setting::Setting::MinAgreement => "min_agreement",
        setting::Setting::InputShape => "input_shape",
        setting::Setting::Reveal => "reveal",
        setting::Setting::Catch => "catch",
        setting::Setting::ActivationBits => "activation_bits",
        setting::Setting::WeightBits => "weight_bits",
        setting::Setting::Labels => "fusionc compile --labels",
        setting::Setting::Columns => "fusionc compile --columns",
        setting::Setting::Classes => "fusionc compile --classes",
        setting::Setting::Output => "fusionc compile --output",
        setting::Setting::Row => "fusionc compile --row",
        setting::Setting::WorstCase => "fusionc compile --acc worst-case",
        setting::Setting::HideShape => "fusionc compile --hide-shape",
        setting::Setting::Memory => "fusionc compile --max-memory",
    })
}

/// What a compiler's error is in Python.
pub fn of_compiler(error: CompileError) -> PyErr {
    let text = in_arguments(&error.to_string());
    match error {
        CompileError::Usage(_) | CompileError::Input { .. } => UsageError::new_err(text),
        CompileError::Unsupported(_) | CompileError::Model { .. } | CompileError::Disagreement(_) => {
            ModelError::new_err(text)
        }
        CompileError::Io { .. } => StateError::new_err(text),
        _ => FusionError::new_err(text),
    }
}
