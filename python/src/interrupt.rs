//! Long work beside an interpreter that still hears Ctrl-C.

use std::io::ErrorKind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fusion::{Channel, Error, Lane, Link, Met, PeerError};
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

/// A switch that breaks a session off.
#[derive(Clone, Default)]
pub struct Switch(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    off: bool,
    link: Option<Box<dyn Link>>,
}

impl Switch {
    /// Breaks off the session that is or will be connected through this switch.
    pub fn turn_off(&self) {
        let mut state = self.state();
        state.off = true;
        if let Some(link) = &state.link {
            link.break_off();
        }
    }

    /// Puts the switch between a session and its peer.
    pub fn connect(&self, met: Met) -> Result<Met, Error> {
        let mut state = self.state();
        if state.off {
            return Err(Error::Usage("interrupted before anything was sent".into()));
        }
        state.link = Some(met.link);
        Ok(Met { link: Box::new(Switched(self.clone())), ..met })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The session's end: dropping it hangs up, as dropping the link would.
struct Switched(Switch);

impl Link for Switched {
    fn open(&mut self, lane: Lane, ahead_bytes: u64) -> Result<Box<dyn Channel>, PeerError> {
        match &mut self.0.state().link {
            Some(link) => link.open(lane, ahead_bytes),
            None => Err(PeerError::Io(ErrorKind::NotConnected.into())),
        }
    }

    /// It is a client's, who never speaks last.
    fn see_off(&self) {}

    fn break_off(&self) {
        if let Some(link) = &self.0.state().link {
            link.break_off();
        }
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        self.0.state().link = None;
    }
}
