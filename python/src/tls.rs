//! Identities and connections.

use std::path::PathBuf;
use std::time::Duration;

use fusion::tcp::TcpOptions;
use fusion::{Credentials, Fingerprint, Tls};
use pyo3::prelude::*;

use crate::errors::{UsageError, of_session};

/// Makes a certificate with its key, writes both to a file that must not exist, for nobody else to
/// read, and returns the fingerprint that peers know it by.
#[pyfunction]
pub fn keygen(path: PathBuf) -> PyResult<String> {
    Credentials::generate(&path).map(|fingerprint| fingerprint.to_string()).map_err(of_session)
}

/// How to speak to a peer: under TLS if there is an identity.
pub fn options(
    identity: Option<PathBuf>,
    peers: Option<Vec<String>>,
    allow_plaintext: bool,
    timeout: f64,
) -> PyResult<TcpOptions> {
    let timeout = Duration::try_from_secs_f64(timeout).ok().filter(|timeout| !timeout.is_zero());
    let timeout = timeout.ok_or_else(|| UsageError::new_err("timeout is a positive number of seconds"))?;
    let tls = match (identity, peers) {
        (None, None) => None,
        (Some(identity), Some(peers)) => {
            let parse =
                |peer: &String| peer.parse().map_err(|why: String| UsageError::new_err(format!("{peer:?}: {why}")));
            let peers = peers.iter().map(parse).collect::<PyResult<Vec<Fingerprint>>>()?;
            let credentials = Credentials::read(&identity).map_err(of_session)?;
            Some(Tls::new(&credentials, &peers).map_err(of_session)?)
        }
        _ => return Err(UsageError::new_err("identity and peers go together: fusion.keygen makes an identity")),
    };
    Ok(TcpOptions { timeout, tls, allow_plaintext })
}
