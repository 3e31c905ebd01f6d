//! What a service serves, to whom and within which limits; all of it may change while it runs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fusion_catalogue::Steps;
use fusion_ir::Party;

use super::admission::{Capacity, Quota};
use super::pace::Pace;
use crate::forecast::Forecast;
use crate::memory::Memory;
use crate::session::BatchSize;
use crate::transport::Identity;
use crate::transport::tcp::{Peer, TcpOptions};
use crate::{Error, Server, resolve};

/// A model with a name.
#[derive(Debug)]
pub struct Hosted {
    /// What logs call it.
    pub name: String,
    /// The model, with its limits and its clients' budgets.
    pub server: Server,
    steps: Arc<Steps>,
    memory: Memory,
    pub(super) pace: Pace,
}

impl Hosted {
    /// `server`, under `name`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the protocols cannot carry a layer.
    pub fn new(name: impl Into<String>, server: Server) -> Result<Hosted, Error> {
        let steps = resolve(&server.plan().function)?;
        let memory = Memory::new(&steps);
        Ok(Hosted { name: name.into(), server, steps, memory, pace: Pace::default() })
    }

    /// What a session of this size takes of memory beside others.
    pub(super) fn memory_bytes(&self, size: BatchSize) -> u64 {
        self.memory.session_bytes(Party::Server, size)
    }

    /// The bytes that a session of this size exchanges, both ways.
    pub(super) fn bytes(&self, size: BatchSize) -> u64 {
        let predicted = Forecast::new(&self.steps, size).predicted;
        predicted.client_to_server + predicted.server_to_client
    }
}

/// What is known of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What logs call it.
    pub name: String,
    /// Whose budget its positions come from, and whose sessions are counted together.
    pub identity: Identity,
    /// What it may have.
    pub quota: Quota,
}

/// Knows clients by who is at the other end of a connection.
pub type Directory = dyn Fn(&Peer) -> Profile + Send + Sync;

/// The longest times that things may take; `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From the connection to the client's hello, the handshake of TLS included.
    pub hello: Duration,
    /// Of a session, from its start.
    pub session: Option<Duration>,
}

/// Everything that a service goes by.
pub struct Settings {
    pub(super) plans: HashMap<[u8; 32], Arc<Hosted>>,
    pub(super) tcp: TcpOptions,
    pub(super) directory: Box<Directory>,
    pub(super) capacity: Capacity,
    pub(super) deadlines: Deadlines,
    pub(super) most_pending: usize,
}

impl Settings {
    /// Serves `plans`. A connection is opened as `tcp` says, of those without a hello there are at
    /// most `most_pending`, and `directory` knows who is there.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no plan, or one twice.
    pub fn new(
        plans: Vec<Hosted>,
        tcp: TcpOptions,
        directory: Box<Directory>,
        capacity: Capacity,
        deadlines: Deadlines,
        most_pending: usize,
    ) -> Result<Settings, Error> {
        let mut by_digest: HashMap<[u8; 32], Arc<Hosted>> = HashMap::new();
        for plan in plans {
            let digest = plan.server.plan().digest();
            if let Some(other) = by_digest.get(&digest) {
                let text = format!("{} and {} are one plan: clients could not choose", other.name, plan.name);
                return Err(Error::Usage(text));
            }
            by_digest.insert(digest, Arc::new(plan));
        }
        if by_digest.is_empty() {
            return Err(Error::Usage("there is no plan to serve".into()));
        }
        Ok(Settings { plans: by_digest, tcp, directory, capacity, deadlines, most_pending: most_pending.max(1) })
    }

    /// Whether who is at the other end would still be let in, as the client that it was then.
    pub(super) fn welcomes(&self, peer: &Peer, client: &Identity) -> bool {
        peer.again(&self.tcp).is_ok_and(|peer| (self.directory)(&peer).identity == *client)
    }

    /// The plan of this digest. Where there is only one, that one: it can say how the two differ.
    pub(super) fn plan(&self, digest: &[u8; 32]) -> Option<&Arc<Hosted>> {
        let only = || self.plans.values().next().filter(|_| self.plans.len() == 1);
        self.plans.get(digest).or_else(only)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("plans", &self.plans.len()).field("capacity", &self.capacity).finish()
    }
}
