//! Long work beside an interpreter that still hears Ctrl-C.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// How long a signal may wait.
const PATIENCE: Duration = Duration::from_millis(50);

/// What `work` gives. It runs on a thread of its own, without the interpreter's lock; if a signal
/// handler raises, `stop` is called, the work is left to itself, and that is the result.
pub fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
    stop: impl Fn(),
) -> PyResult<T> {
    let (done, result) = channel();
    let result = Mutex::new(result);
    let wait = || result.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PATIENCE);
    std::thread::Builder::new().name("fusion".into()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = done.send(work());
    })?;
    loop {
        match py.detach(wait) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("internal error: the thread that does the work panicked"));
            }
            Err(RecvTimeoutError::Timeout) => py.check_signals().inspect_err(|_| stop())?,
        }
    }
}
