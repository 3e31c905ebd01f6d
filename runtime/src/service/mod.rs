//! A service: several models for several clients at once, for as long as one likes.
//!
//! Whatever connects gets a thread, which has a deadline (`register`) for the handshake of TLS
//! and the client's hello; only then is it a client. Its hello says which plan it means, and what
//! its session will take; [`admission`] decides when it starts. Budgets are spent at that moment,
//! once. Nothing that one connection does, a panic of this side included, ends another. What
//! happens is told to an [`Observer`].

pub mod admission;
mod event;
mod pace;
mod rate;
mod register;
mod session;
mod settings;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::Builder;
use std::time::{Duration, Instant};

pub use admission::{Capacity, Load, Quota};
pub use event::{Caller, Event, Observer, Refusal};
pub use settings::{Deadlines, Directory, Hosted, Profile, Settings};

use admission::Admission;
use rate::Rates;
use register::Register;
use session::Shared;

/// How long to wait when the system has no more connections or threads to give.
const PAUSE: Duration = Duration::from_millis(50);
/// What threads of connections that were cut get to end.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// A running service.
pub struct Service {
    settings: RwLock<Arc<Settings>>,
    admission: Arc<Admission>,
    register: Arc<Register>,
    rates: Rates,
    observer: Arc<dyn Observer>,
    stopping: AtomicBool,
}

/// How a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All sessions ended by themselves.
    Finished,
    /// So many clients were cut off.
    CutOff(usize),
}

/// What a service does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Connections without a hello.
    pub pending: usize,
    /// Sessions and those that wait.
    pub load: Load,
    /// Whether no new sessions start.
    pub stopping: bool,
}

impl Service {
    /// A service that is about to begin.
    pub fn new(settings: Settings, observer: Arc<dyn Observer>) -> Arc<Service> {
        let admission = Arc::new(Admission::new(settings.capacity));
        Arc::new(Service {
            settings: RwLock::new(Arc::new(settings)),
            admission,
            register: Arc::new(Register::default()),
            rates: Rates::default(),
            observer,
            stopping: AtomicBool::new(false),
        })
    }

    /// From now on connections go by `settings`. Those that are open keep theirs, but clients that
    /// would not be let in any more, as who they are, are cut off: how many.
    pub fn reload(&self, settings: Settings) -> usize {
        self.admission.set(settings.capacity);
        let settings = Arc::new(settings);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&settings);
        self.register.cut_unwelcome(|peer, client| settings.welcomes(peer, client))
    }

    /// Those of the moment.
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What it does.
    pub fn status(&self) -> Status {
        let stopping = self.stopping.load(Ordering::SeqCst);
        Status { pending: self.register.pending(), load: self.admission.load(), stopping }
    }

    /// Serves whoever connects, until [`Service::stop`].
    ///
    /// # Errors
    /// If the system does not give the first thread.
    pub fn run(self: &Arc<Service>, listener: TcpListener) -> io::Result<()> {
        let own = Arc::clone(self);
        Builder::new().name("fusion-deadlines".into()).spawn(move || own.register.watch())?;
        // The listener is the loop's alone, so that nobody can connect once the loop is left.
        loop {
            let accepted = listener.accept();
            if self.stopping.load(Ordering::SeqCst) {
                return Ok(());
            }
            let seated = accepted.and_then(|(stream, address)| self.seat(stream, address));
            match seated {
                Ok(()) => {}
                // The peer's affair.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.observer.event(u64::MAX, Event::NotAccepted { why: &error });
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    fn seat(self: &Arc<Service>, stream: TcpStream, address: std::net::SocketAddr) -> io::Result<()> {
        let settings = self.settings();
        let deadline = Instant::now().checked_add(settings.deadlines.hello);
        let Some(seat) = self.register.enter(&stream, address.ip(), deadline, settings.most_pending)? else {
            // Dropping the stream hangs up.
            return Ok(());
        };
        let own = Arc::clone(self);
        let serve = move || {
            let (settings, admission, newest) = (&*settings, &own.admission, &|| own.settings());
            let shared = Shared { settings, newest, admission, rates: &own.rates, observer: &*own.observer };
            shared.serve(&seat, stream, address);
        };
        Builder::new().name("fusion-session".into()).spawn(serve).map(drop)
    }

    /// Ends [`Service::run`], which then gives up its listener; who waits is refused, sessions go
    /// on. `listener` is a clone of the one that it was given.
    pub fn stop(&self, listener: &TcpListener) {
        if self.stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        self.admission.close();
        self.register.cut_all(true);
        wake(listener);
    }

    /// Waits for sessions to end; those that have not after `patience` are cut. To be called after
    /// [`Service::stop`].
    pub fn drain(&self, patience: Duration) -> Drained {
        let deadline = Instant::now().checked_add(patience);
        let far = || Instant::now() + Duration::from_secs(1 << 30);
        if self.register.wait_empty(deadline.unwrap_or_else(far)) > 0 {
            self.register.cut_all(false);
            self.register.wait_empty(Instant::now() + LAST_MOMENTS);
        }
        self.register.end();
        match self.register.cut_off() {
            0 => Drained::Finished,
            clients => Drained::CutOff(clients),
        }
    }

    /// Cuts all sessions: [`Service::drain`] then returns soon.
    pub fn give_up(&self) {
        self.register.cut_all(false);
    }
}

/// Makes a thread that waits for connections look around.
fn wake(listener: &TcpListener) {
    // On Linux this refuses connections from now on, too.
    #[cfg(unix)]
    if let Ok(clone) = listener.try_clone() {
        let socket = TcpStream::from(std::os::fd::OwnedFd::from(clone));
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
    // Elsewhere one that connects does it.
    if let Ok(mut address) = listener.local_addr() {
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        let _ = TcpStream::connect_timeout(&address, Duration::from_millis(500));
    }
}
