//! One connection from its first byte to its last, on a thread of its own.

use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fusion_backends::Error as PeerError;

use super::admission::{Admission, Denied, Need, Quota, Ticket};
use super::event::{Caller, Event, Observer, Refusal};
use super::rate::Rates;
use super::register::{Cut, Seat};
use super::settings::{Hosted, Profile, Settings};
use crate::server::Guest;
use crate::session::hello::hex;
use crate::session::{BatchSize, probe};
use crate::transport::{Met, Pulse, Turn, tcp};
use crate::{Error, ServerReport};

/// What a visit without a session may take: to measure the network, or to read a refusal.
const SHORT_VISIT: Duration = Duration::from_secs(3 * probe::LONGEST.as_secs());

/// Why a client is sent away that came as a good one.
const UNWELCOME: &str = "this client is not let in any more";

/// What the connections of a service have in common.
pub(super) struct Shared<'a> {
    /// Those of when it came.
    pub settings: &'a Settings,
    /// Those of the moment.
    pub newest: &'a dyn Fn() -> Arc<Settings>,
    pub admission: &'a Arc<Admission>,
    pub rates: &'a Rates,
    pub observer: &'a dyn Observer,
}

impl Shared<'_> {
    /// Serves who is at the other end of `stream`, if it is a client and may be served. A panic
    /// ends here.
    pub fn serve(&self, seat: &Seat, stream: TcpStream, address: SocketAddr) {
        let greeted = catch_unwind(AssertUnwindSafe(|| self.greet(seat, stream, address)));
        let (guest, pulse, profile) = match greeted.unwrap_or_else(|_| Err(panicked())) {
            Ok(greeted) => greeted,
            Err(error) => {
                let why = &self.blame(seat, error);
                return self.observer.event(seat.number(), Event::Stray { address, why });
            }
        };
        // Who only asks, or is refused, stays one of those of whom there are only so many.
        seat.until(Instant::now().checked_add(SHORT_VISIT));
        let caller = Caller { name: profile.name.clone(), address };
        let Some(hosted) = self.settings.plan(&guest.plan_digest()) else {
            let digest = hex(&guest.plan_digest());
            let text = format!(
                "no plan of this server is the client's, {digest}: the plans come from two different compilations"
            );
            let why = &incompatible(text);
            guest.refuse(why);
            let refused = Event::Refused { caller: &caller, plan: None, refusal: Refusal::Incompatible, why };
            return self.observer.event(seat.number(), refused);
        };
        let refusal = guest.asks_for_nothing().then_some(Refusal::Asked);
        if refusal.is_some() {
            pulse.tell(self.admission.outlook());
        }
        Visit { shared: self, seat, caller, profile, hosted, pulse, refusal, started: None }.run(guest);
    }

    fn greet(&self, seat: &Seat, stream: TcpStream, address: SocketAddr) -> Result<(Guest, Pulse, Profile), Error> {
        let (connection, peer) = tcp::greet(stream, address, &self.settings.tcp)?;
        let pulse = connection.pulse();
        let profile = (self.settings.directory)(&peer);
        seat.is_of(peer.clone(), profile.identity.clone());
        // Whoever changes them looks for clients that are seated, so one of both sees it.
        let newest = (self.newest)();
        if !std::ptr::eq(&*newest, self.settings) && !newest.welcomes(&peer, &profile.identity) {
            seat.send_away();
        }
        let Met { link, .. } = Met::from((connection, peer));
        let guest = Guest::receive(link)?;
        // It came at the last moment, and the connection is shut already.
        if seat.cut().is_some() { Err(hung_up()) } else { Ok((guest, pulse, profile)) }
    }

    /// The error that explains what happened, if the service itself ended the connection.
    fn blame(&self, seat: &Seat, error: Error) -> Error {
        let text = match seat.cut() {
            None => return error,
            Some(Cut::Deadline) => {
                let seconds = self.settings.deadlines.hello.as_secs_f64();
                format!("no hello within {seconds} s")
            }
            Some(Cut::Crowded) => "too many connections without a hello".into(),
            Some(Cut::Shutdown) => "the service ends".into(),
            Some(Cut::Unwelcome) => UNWELCOME.into(),
        };
        Error::Peer(PeerError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
    }
}

/// A client's visit.
struct Visit<'a> {
    shared: &'a Shared<'a>,
    seat: &'a Seat,
    caller: Caller,
    profile: Profile,
    hosted: &'a Arc<Hosted>,
    pulse: Pulse,
    /// Why it may not start, if that was decided here.
    refusal: Option<Refusal>,
    /// When it started, and what it takes.
    started: Option<(Instant, Ticket)>,
}

impl Visit<'_> {
    fn run(mut self, guest: Guest) {
        let served = catch_unwind(AssertUnwindSafe(|| {
            let (observer, number) = (self.shared.observer, self.seat.number());
            let progress = &mut |step: crate::Step<'_>| observer.event(number, Event::Step(step));
            let server = &self.hosted.server;
            server.serve_guest(guest, &mut |size| self.admit(size), progress)
        }));
        let outcome = served.unwrap_or_else(|_| Err(panicked())).map_err(|error| self.blame(error));
        self.end(outcome);
    }

    /// Waits for the session's turn, and spends its positions when it has come. Who is refused gets
    /// the time to read why.
    fn admit(&mut self, size: BatchSize) -> Result<(), Error> {
        self.admitted(size).inspect_err(|_| self.seat.until(Instant::now().checked_add(SHORT_VISIT)))
    }

    fn admitted(&mut self, size: BatchSize) -> Result<(), Error> {
        let came = Instant::now();
        let (quota, hosted, identity) = (self.profile.quota, self.hosted, &self.profile.identity);
        if let Err(why) = within(quota, size, hosted) {
            self.refusal = Some(Refusal::Quota);
            return Err(why);
        }
        // Who cannot pay need not wait.
        if let Err(why) = hosted.server.afford(identity, size) {
            self.refusal = Some(unpaid(&why));
            return Err(why);
        }
        self.seat.greeted(None);
        let memory_bytes = hosted.memory_bytes(size);
        let mut first = true;
        let waits = |turn: Turn| {
            self.pulse.tell(turn);
            if std::mem::take(&mut first) {
                let queued = Event::Queued { caller: &self.caller, before: turn.before as usize, memory_bytes };
                self.shared.observer.event(self.seat.number(), queued);
            }
        };
        let need = Need { memory_bytes, takes: hosted.pace.expect(size.schedule.positions) };
        let entered = self.shared.admission.enter(identity, need, quota, || self.pulse.is_over(), waits);
        let ticket = match entered {
            Ok(ticket) => ticket,
            Err(denied) => {
                let (refusal, why) = self.explain(denied);
                self.refusal = Some(refusal);
                return Err(why);
            }
        };
        // Its turn may have come while it was sent away.
        if self.seat.cut().is_some() {
            return Err(hung_up());
        }
        let (now, positions) = (Instant::now(), size.schedule.positions);
        if let Err(wait) = self.shared.rates.take(identity, positions, quota.hourly, now) {
            self.refusal = Some(Refusal::Rate);
            return Err(too_fast(quota, positions, wait));
        }
        if let Err(why) = hosted.server.spend(identity, size) {
            self.shared.rates.give_back(identity, positions);
            self.refusal = Some(unpaid(&why));
            return Err(why);
        }
        self.started = Some((now, ticket));
        self.seat.greeted(self.shared.settings.deadlines.session.and_then(|most| now.checked_add(most)));
        let waited = now - came;
        let started = Event::Started { caller: &self.caller, plan: &hosted.name, size, memory_bytes, waited };
        self.shared.observer.event(self.seat.number(), started);
        Ok(())
    }

    fn explain(&self, denied: Denied) -> (Refusal, Error) {
        let limit = self.shared.admission.load().limit_bytes;
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        let (refusal, text) = match denied {
            Denied::TooLarge(bytes) => (
                Refusal::Memory,
                format!(
                    "the session takes about {} MB of this server's memory, which gives sessions {} MB: ask for a \
                     smaller micro-batch",
                    megabytes(bytes),
                    limit / 1_000_000
                ),
            ),
            Denied::Full => (Refusal::Busy, "this server is busy and its queue is full: try again later".into()),
            Denied::Crowded => {
                (Refusal::Busy, "this client has as many sessions waiting as it may have: try again later".into())
            }
            Denied::Late(before) => (
                Refusal::Busy,
                format!("this server is busy: its turn did not come in time, with {before} still before it"),
            ),
            Denied::Closed => (Refusal::Closing, "this server is about to end".into()),
            Denied::Gone => return (Refusal::Gone, hung_up()),
        };
        (refusal, incompatible(text))
    }

    fn blame(&self, error: Error) -> Error {
        let text = match self.seat.cut() {
            Some(Cut::Deadline) if self.started.is_none() => "a visit without a session took too long",
            Some(Cut::Deadline) => "the session took longer than this server allows",
            Some(Cut::Shutdown) => "the service ended before the session",
            Some(Cut::Crowded) => "too many visits without a session",
            Some(Cut::Unwelcome) => UNWELCOME,
            None => return error,
        };
        Error::Peer(PeerError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
    }

    fn end(self, outcome: Result<ServerReport, Error>) {
        let Visit { shared, seat, caller, hosted, refusal, started, .. } = self;
        let (caller, plan) = (&caller, hosted.name.as_str());
        let event = match (started, &outcome) {
            (Some((started, ticket)), outcome) => {
                let time = started.elapsed();
                // Others may start before the news is out.
                drop(ticket);
                if let Ok(report) = outcome {
                    hosted.pace.learn(report.batch.positions, time);
                }
                Event::Ended { caller, plan, outcome: outcome.as_ref(), time }
            }
            (None, Err(why)) => {
                let refusal = refusal.unwrap_or(match why {
                    Error::Peer(PeerError::Io(_)) => Refusal::Gone,
                    Error::Peer(_) => Refusal::Incompatible,
                    _ => Refusal::Failed,
                });
                Event::Refused { caller, plan: Some(plan), refusal, why }
            }
            // Nothing is served without having been admitted.
            (None, Ok(_)) => return,
        };
        shared.observer.event(seat.number(), event);
    }
}

/// Whether a session is within what its client may ask for.
fn within(quota: Quota, size: BatchSize, hosted: &Hosted) -> Result<(), Error> {
    let positions = size.schedule.positions;
    if positions > quota.positions {
        let text =
            format!("the batch has {positions} positions, this client may have {} in a session", quota.positions);
        return Err(incompatible(text));
    }
    // The forecast takes time, so it is asked for only if it matters.
    let bytes = if quota.bytes < u64::MAX { hosted.bytes(size) } else { 0 };
    if bytes > quota.bytes {
        let text = format!("the batch takes {bytes} bytes, this client may exchange {} in a session", quota.bytes);
        return Err(incompatible(text));
    }
    Ok(())
}

/// What kind of reason a session is that was not paid for.
fn unpaid(why: &Error) -> Refusal {
    if matches!(why, Error::Peer(_)) { Refusal::Budget } else { Refusal::Failed }
}

fn too_fast(quota: Quota, positions: u64, wait: Option<Duration>) -> Error {
    let hourly = quota.hourly;
    incompatible(match wait {
        None => format!("the batch has {positions} positions, this client may have {hourly} in an hour"),
        Some(wait) => {
            let minutes = wait.as_secs().div_ceil(60).max(1);
            format!(
                "the batch has {positions} positions, and of the {hourly} that this client may have in an hour there \
                 will be so many left in {minutes} min: try again then"
            )
        }
    })
}

fn incompatible(text: String) -> Error {
    Error::Peer(PeerError::PeerIncompatible(text))
}

fn hung_up() -> Error {
    let text = "the client hung up while it waited for its turn";
    Error::Peer(PeerError::Io(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text)))
}

fn panicked() -> Error {
    Error::Bug("the session's thread panicked".into())
}
