//! What breaks off several links at once, from any thread.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fusion_backends::{Channel, Error as PeerError};

use super::{Lane, Link, Met, Told};
use crate::Error;

/// A switch that breaks sessions off: of a batch's shards, or whatever a user interrupts.
#[derive(Clone, Default)]
pub struct Switch(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    off: bool,
    links: Vec<Slot>,
}

/// A session's link, until it hangs up.
type Slot = Arc<Mutex<Option<Box<dyn Link>>>>;

impl Switch {
    /// Breaks off all sessions that are or will be connected through this switch.
    pub fn turn_off(&self) {
        let mut state = lock(&self.0);
        state.off = true;
        for slot in &state.links {
            if let Some(link) = &*lock(slot) {
                link.break_off();
            }
        }
    }

    /// Puts the switch between a session and its peer.
    ///
    /// # Errors
    /// [`Error::Usage`] if it has been turned off; nothing was sent then.
    pub fn connect(&self, met: Met) -> Result<Met, Error> {
        let mut state = lock(&self.0);
        if state.off {
            return Err(Error::Usage("interrupted before anything was sent".into()));
        }
        let slot = Slot::new(Mutex::new(Some(met.link)));
        state.links.push(Arc::clone(&slot));
        Ok(Met { link: Box::new(Switched(slot)), ..met })
    }
}

/// A session's end: dropping it hangs up, as dropping the link would.
struct Switched(Slot);

impl Link for Switched {
    fn open(&mut self, lane: Lane, ahead_bytes: u64) -> Result<Box<dyn Channel>, PeerError> {
        match &mut *lock(&self.0) {
            Some(link) => link.open(lane, ahead_bytes),
            None => Err(PeerError::Io(ErrorKind::NotConnected.into())),
        }
    }

    fn told(&self) -> Option<Told> {
        lock(&self.0).as_ref()?.told()
    }

    fn see_off(&self) {
        if let Some(link) = &*lock(&self.0) {
            link.see_off();
        }
    }

    fn break_off(&self) {
        if let Some(link) = &*lock(&self.0) {
            link.break_off();
        }
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        // Outside the lock: a link may wait for what is queued.
        let link = lock(&self.0).take();
        drop(link);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
