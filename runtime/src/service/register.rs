//! All open connections, with the time by which each must have got further.
//!
//! A deadline is one for everything that happens until then, so a peer that sends a byte now and
//! then gains nothing. Who has not been greeted yet is *pending*. Of these there are only so many:
//! one too many, and the oldest of the address with most of them goes, so that a flood displaces
//! itself.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::transport::Identity;
use crate::transport::tcp::Peer;

/// Why the service itself ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It had not got further in time.
    Deadline,
    /// Too many had no hello yet.
    Crowded,
    /// The service ends.
    Shutdown,
    /// The client would not be let in any more.
    Unwelcome,
}

/// The connections.
#[derive(Debug, Default)]
pub struct Register {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<u64, Entry>,
    next: u64,
    over: bool,
    /// Connections of clients that did not end by themselves, because the service did.
    cut_off: usize,
}

#[derive(Debug)]
struct Entry {
    socket: TcpStream,
    from: Identity,
    guest: Option<Arc<(Peer, Identity)>>,
    pending: bool,
    deadline: Option<Instant>,
    cut: Option<Cut>,
}

/// A connection's entry, removed when dropped.
#[derive(Debug)]
pub struct Seat {
    register: Arc<Register>,
    number: u64,
}

impl Register {
    /// Enters a new connection, which has until `deadline` to be greeted. `None` if there is no
    /// room even though the most dispensable pending one was cut.
    ///
    /// # Errors
    /// If the system has no more descriptors.
    pub fn enter(
        self: &Arc<Register>,
        socket: &TcpStream,
        address: IpAddr,
        deadline: Option<Instant>,
        most_pending: usize,
    ) -> std::io::Result<Option<Seat>> {
        let (socket, from) = (socket.try_clone()?, Identity::address(address));
        let mut state = self.lock();
        let pending = || state.entries.values().filter(|entry| entry.pending);
        // Those that were cut are about to go.
        let (all, standing) = (pending().count(), pending().filter(|entry| entry.cut.is_none()).count());
        if state.over || all >= most_pending.saturating_mul(2) {
            return Ok(None);
        }
        if standing >= most_pending
            && let Some(number) = state.dispensable()
        {
            state.cut(number, Cut::Crowded);
        }
        let number = state.next;
        state.next += 1;
        state.entries.insert(number, Entry { socket, from, guest: None, pending: true, deadline, cut: None });
        self.changed.notify_all();
        Ok(Some(Seat { register: Arc::clone(self), number }))
    }

    /// Cuts connections whose deadline has passed, until [`Register::end`].
    pub fn watch(&self) {
        let mut state = self.lock();
        while !state.over {
            let now = Instant::now();
            let late = |entry: &Entry| entry.cut.is_none() && entry.deadline.is_some_and(|deadline| deadline <= now);
            let numbers: Vec<u64> =
                state.entries.iter().filter(|(_, entry)| late(entry)).map(|(number, _)| *number).collect();
            numbers.into_iter().for_each(|number| _ = state.cut(number, Cut::Deadline));
            let open = state.entries.values().filter(|entry| entry.cut.is_none());
            let next = open.filter_map(|entry| entry.deadline).min();
            state = match next {
                Some(next) => {
                    let left = next.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Ends [`Register::watch`]; nobody enters any more.
    pub fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// Cuts all connections, or only those that are pending.
    pub fn cut_all(&self, only_pending: bool) {
        let mut state = self.lock();
        let numbers: Vec<u64> = state.entries.keys().copied().collect();
        for number in numbers {
            let Some(entry) = state.entries.get(&number) else { continue };
            let (pending, stands) = (entry.pending, entry.cut.is_none());
            if pending || !only_pending {
                state.cut_off += usize::from(stands && !pending);
                state.cut(number, Cut::Shutdown);
            }
        }
    }

    /// Cuts connections of clients that are not `welcome`; how many.
    pub fn cut_unwelcome(&self, welcome: impl Fn(&Peer, &Identity) -> bool) -> usize {
        let guest = |(number, entry): (&u64, &Entry)| Some((*number, Arc::clone(entry.guest.as_ref()?)));
        let guests: Vec<_> = self.lock().entries.iter().filter_map(guest).collect();
        // It takes time, so nobody waits for it; numbers are not used twice.
        let unwelcome: Vec<u64> =
            guests.iter().filter(|(_, guest)| !welcome(&guest.0, &guest.1)).map(|(number, _)| *number).collect();
        let mut state = self.lock();
        unwelcome.into_iter().filter(|number| state.cut(*number, Cut::Unwelcome)).count()
    }

    /// How many clients [`Register::cut_all`] has cut off.
    pub fn cut_off(&self) -> usize {
        self.lock().cut_off
    }

    /// Waits until there is no connection, or until `deadline`; how many are left.
    pub fn wait_empty(&self, deadline: Instant) -> usize {
        let mut state = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.entries.is_empty() || left.is_zero() {
                return state.entries.len();
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many connections are pending.
    pub fn pending(&self) -> usize {
        self.lock().entries.values().filter(|entry| entry.pending).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The oldest pending connection of the address that has most of them.
    fn dispensable(&self) -> Option<u64> {
        let pending = || self.entries.iter().filter(|(_, entry)| entry.pending && entry.cut.is_none());
        let mut counts: HashMap<&Identity, usize> = HashMap::new();
        pending().for_each(|(_, entry)| *counts.entry(&entry.from).or_default() += 1);
        let most = counts.values().copied().max()?;
        pending().filter(|(_, entry)| counts[&entry.from] == most).map(|(number, _)| *number).min()
    }

    /// Whether it was there to be cut.
    fn cut(&mut self, number: u64, why: Cut) -> bool {
        let Some(entry) = self.entries.get_mut(&number).filter(|entry| entry.cut.is_none()) else { return false };
        entry.cut = Some(why);
        // It may be shut already.
        let _ = entry.socket.shutdown(Shutdown::Both);
        true
    }
}

impl Seat {
    /// The connection's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The connection has until `deadline`, pending or not.
    pub fn until(&self, deadline: Option<Instant>) {
        if let Some(entry) = self.register.lock().entries.get_mut(&self.number) {
            entry.deadline = deadline;
        }
        self.register.changed.notify_all();
    }

    /// The connection is a client's: it is no longer pending, and has until `deadline` to get
    /// further.
    pub fn greeted(&self, deadline: Option<Instant>) {
        let mut state = self.register.lock();
        if let Some(entry) = state.entries.get_mut(&self.number) {
            entry.pending = false;
            entry.deadline = deadline;
        }
        self.register.changed.notify_all();
    }

    /// Remembers who is at the other end.
    pub fn is_of(&self, peer: Peer, client: Identity) {
        if let Some(entry) = self.register.lock().entries.get_mut(&self.number) {
            entry.guest = Some(Arc::new((peer, client)));
        }
    }

    /// Ends the connection of a client that is not let in any more.
    pub fn send_away(&self) {
        self.register.lock().cut(self.number, Cut::Unwelcome);
    }

    /// Why the service ended the connection, if it did.
    pub fn cut(&self) -> Option<Cut> {
        self.register.lock().entries.get(&self.number).and_then(|entry| entry.cut)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.register.lock().entries.remove(&self.number);
        self.register.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// A connected socket and its other end.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, far)
    }

    fn ended(far: &mut TcpStream) -> bool {
        far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        far.read(&mut [0]).unwrap() == 0
    }

    #[test]
    fn deadlines_hold_whatever_arrives() {
        let register = Arc::new(Register::default());
        let (near, mut far) = pair();
        let (other, _far) = pair();
        let soon = Some(Instant::now() + Duration::from_millis(50));
        let address = "192.0.2.1".parse().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| register.watch());
            let seat = register.enter(&near, address, soon, 8).unwrap().unwrap();
            let greeted = register.enter(&other, address, soon, 8).unwrap().unwrap();
            greeted.greeted(None);
            assert!(ended(&mut far));
            assert_eq!((seat.cut(), greeted.cut(), register.pending()), (Some(Cut::Deadline), None, 1));
            drop(seat);
            assert_eq!(register.wait_empty(Instant::now() + Duration::from_millis(10)), 1);
            register.cut_all(true);
            assert_eq!(greeted.cut(), None);
            register.cut_all(false);
            assert_eq!((greeted.cut(), register.cut_off()), (Some(Cut::Shutdown), 1));
            drop(greeted);
            assert_eq!(register.wait_empty(Instant::now() + Duration::from_secs(10)), 0);
            register.end();
        });
    }

    #[test]
    fn a_flood_displaces_itself() {
        let register = Arc::new(Register::default());
        let [flood, client] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        let enter = |address| {
            let (near, far) = pair();
            (register.enter(&near, address, None, 3).unwrap(), far)
        };
        let (honest, _far) = enter(client);
        let floods: Vec<_> = (0..5).map(|_| enter(flood)).collect();
        let cuts: Vec<_> = floods.iter().map(|(seat, _)| seat.as_ref().map(|seat| seat.cut())).collect();
        let crowded = Some(Some(Cut::Crowded));
        assert_eq!(cuts, [crowded, crowded, crowded, Some(None), Some(None)]);
        assert_eq!(honest.unwrap().cut(), None);
        // As long as those that were cut have not gone, there is an end to it.
        let (last, _far) = enter(flood);
        assert!(last.is_some() && enter(flood).0.is_none());
        drop(floods);
        assert!(enter(client).0.is_some());
    }
}
