//! Which session may start when: one lock decides.
//!
//! Sessions start in the order in which they came. One that does not fit in memory beside those
//! that run waits, and all behind it wait too, so that a large one is not starved by small ones.
//! Only who has as many sessions as a client may have at once is passed over.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::transport::Identity;

/// How often who waits looks whether its client is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What there is to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Memory of all sessions together, by forecast.
    pub memory_bytes: u64,
    /// Most sessions at once.
    pub sessions: usize,
    /// Most clients that wait.
    pub queue: usize,
    /// How long one waits, most.
    pub patience: Duration,
}

/// What one client may have of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Most sessions at once.
    pub sessions: usize,
    /// Most that wait.
    pub waiting: usize,
    /// Most positions of a session.
    pub positions: u64,
    /// Most bytes of a session, both ways, by forecast, which is exact.
    pub bytes: u64,
    /// Positions at once, and as many again in each hour that passes.
    pub hourly: u64,
}

impl Default for Quota {
    fn default() -> Quota {
        Quota { sessions: usize::MAX, waiting: usize::MAX, positions: u64::MAX, bytes: u64::MAX, hourly: u64::MAX }
    }
}

/// Why a session may not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It needs more memory than there is, so many bytes.
    TooLarge(u64),
    /// The queue is full.
    Full,
    /// The client has as many waiting as it may have.
    Crowded,
    /// Its turn did not come in time; so many were still before it.
    Late(usize),
    /// The client went away.
    Gone,
    /// The service takes no more sessions.
    Closed,
}

/// Decides.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    capacity: Capacity,
    closed: bool,
    running: HashMap<Identity, usize>,
    sessions: usize,
    memory_bytes: u64,
    queue: VecDeque<Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    client: Identity,
    at_once: usize,
    memory_bytes: u64,
}

/// What is taken at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions that run.
    pub sessions: usize,
    /// What they take of memory, by forecast.
    pub memory_bytes: u64,
    /// Of how much.
    pub limit_bytes: u64,
    /// Clients that wait.
    pub queued: usize,
}

/// A session's place among those that run, given back when dropped.
#[derive(Debug)]
pub struct Ticket {
    admission: Arc<Admission>,
    client: Identity,
    memory_bytes: u64,
}

impl Admission {
    /// Nothing is taken yet.
    pub fn new(capacity: Capacity) -> Admission {
        let (running, queue) = (HashMap::new(), VecDeque::new());
        let state = State { capacity, closed: false, running, sessions: 0, memory_bytes: 0, queue, next: 0 };
        Admission { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// From now on there is so much to share; sessions that run keep what they have.
    pub fn set(&self, capacity: Capacity) {
        self.lock().capacity = capacity;
        self.changed.notify_all();
    }

    /// Nobody is admitted any more, who waits neither.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// What is taken.
    pub fn load(&self) -> Load {
        let state = self.lock();
        Load {
            sessions: state.sessions,
            memory_bytes: state.memory_bytes,
            limit_bytes: state.capacity.memory_bytes,
            queued: state.queue.len(),
        }
    }

    /// Waits for the turn of a session of `client` that takes `memory_bytes`. `queued` is told
    /// once, with the number of those before it, if it has to wait; `gone` is asked now and then.
    ///
    /// # Errors
    /// Why it may not start; nothing is taken then.
    pub fn enter(
        self: &Arc<Admission>,
        client: &Identity,
        memory_bytes: u64,
        quota: Quota,
        gone: impl Fn() -> bool,
        queued: impl FnOnce(usize),
    ) -> Result<Ticket, Denied> {
        let came = Instant::now();
        let mut state = self.lock();
        let number = state.join(client, memory_bytes, quota)?;
        let mut queued = Some(queued);
        loop {
            if let Err(denied) = state.wait(number, came) {
                state.leave(number);
                self.changed.notify_all();
                return Err(denied);
            }
            if state.has_turn(number) {
                state.leave(number);
                state.sessions += 1;
                state.memory_bytes += memory_bytes;
                *state.running.entry(client.clone()).or_default() += 1;
                // The next one may fit too.
                self.changed.notify_all();
                return Ok(Ticket { admission: Arc::clone(self), client: client.clone(), memory_bytes });
            }
            if let Some(queued) = queued.take() {
                let before = state.before(number);
                drop(state);
                queued(before);
                state = self.lock();
                continue;
            }
            state = self.changed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
            drop(state);
            let left = gone();
            state = self.lock();
            if left {
                state.leave(number);
                self.changed.notify_all();
                return Err(Denied::Gone);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Stands at the end of the queue.
    fn join(&mut self, client: &Identity, memory_bytes: u64, quota: Quota) -> Result<u64, Denied> {
        if self.closed {
            return Err(Denied::Closed);
        }
        if memory_bytes > self.capacity.memory_bytes {
            return Err(Denied::TooLarge(memory_bytes));
        }
        let number = self.next;
        self.next += 1;
        let waiting = Waiting { number, client: client.clone(), at_once: quota.sessions.max(1), memory_bytes };
        self.queue.push_back(waiting);
        if self.has_turn(number) {
            return Ok(number);
        }
        // It would have to wait: is there room for that?
        let own = self.queue.iter().filter(|other| other.client == *client).count();
        let denied = match () {
            () if own > quota.waiting => Denied::Crowded,
            () if self.queue.len() > self.capacity.queue => Denied::Full,
            () => return Ok(number),
        };
        self.leave(number);
        Err(denied)
    }

    /// Whether number `number`, which came at `came`, may go on waiting.
    fn wait(&self, number: u64, came: Instant) -> Result<(), Denied> {
        let Some(own) = self.queue.iter().find(|waiting| waiting.number == number) else { return Err(Denied::Gone) };
        match () {
            () if self.closed => Err(Denied::Closed),
            // The capacity may have changed.
            () if own.memory_bytes > self.capacity.memory_bytes => Err(Denied::TooLarge(own.memory_bytes)),
            () if came.elapsed() >= self.capacity.patience && !self.has_turn(number) => {
                Err(Denied::Late(self.before(number)))
            }
            () => Ok(()),
        }
    }

    fn has_turn(&self, number: u64) -> bool {
        let at_its_limit = |waiting: &Waiting| self.running.get(&waiting.client).is_some_and(|n| *n >= waiting.at_once);
        let first = self.queue.iter().find(|waiting| !at_its_limit(waiting));
        let fits = |waiting: &Waiting| {
            let total = self.memory_bytes.saturating_add(waiting.memory_bytes);
            self.sessions < self.capacity.sessions && total <= self.capacity.memory_bytes
        };
        first.is_some_and(|first| first.number == number && fits(first))
    }

    fn before(&self, number: u64) -> usize {
        self.queue.iter().take_while(|waiting| waiting.number != number).count()
    }

    fn leave(&mut self, number: u64) {
        self.queue.retain(|waiting| waiting.number != number);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.sessions -= 1;
        state.memory_bytes -= self.memory_bytes;
        if let Some(running) = state.running.get_mut(&self.client) {
            *running -= 1;
            if *running == 0 {
                state.running.remove(&self.client);
            }
        }
        self.admission.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const CAPACITY: Capacity = Capacity { memory_bytes: 100, sessions: 3, queue: 8, patience: Duration::from_secs(20) };

    fn who(name: &str) -> Identity {
        Identity::named(name)
    }

    fn here() -> bool {
        false
    }

    fn enter(admission: &Arc<Admission>, name: &str, bytes: u64, quota: Quota) -> Result<Ticket, Denied> {
        admission.enter(&who(name), bytes, quota, here, |_| ())
    }

    /// Enters on a thread of its own, and returns when it waits.
    fn wait(
        admission: &Arc<Admission>,
        name: &'static str,
        bytes: u64,
        quota: Quota,
    ) -> (usize, mpsc::Receiver<Result<Ticket, Denied>>) {
        let (waits, is_waiting) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let admission = Arc::clone(admission);
        std::thread::spawn(move || {
            let entered = admission.enter(&who(name), bytes, quota, here, |before| waits.send(before).unwrap());
            let _ = ends.send(entered);
        });
        (is_waiting.recv_timeout(Duration::from_secs(10)).unwrap(), ended)
    }

    fn soon<T>(ended: &mpsc::Receiver<T>) -> T {
        ended.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn who_does_not_fit_waits_and_small_ones_do_not_overtake() {
        let admission = Arc::new(Admission::new(CAPACITY));
        let first = enter(&admission, "ann", 60, Quota::default()).unwrap();
        let (before, large) = wait(&admission, "bob", 50, Quota::default());
        assert_eq!(before, 0);
        let (before, small) = wait(&admission, "cat", 10, Quota::default());
        assert_eq!(before, 1);
        let load = admission.load();
        assert_eq!(load, Load { sessions: 1, memory_bytes: 60, limit_bytes: 100, queued: 2 });
        assert!(small.recv_timeout(Duration::from_millis(300)).is_err());
        drop(first);
        let (large, small) = (soon(&large).unwrap(), soon(&small).unwrap());
        assert_eq!(admission.load(), Load { sessions: 2, memory_bytes: 60, limit_bytes: 100, queued: 0 });
        drop((large, small));
        assert_eq!(admission.load(), Load { limit_bytes: 100, ..Load::default() });
    }

    #[test]
    fn a_client_at_its_limit_is_passed_over() {
        let admission = Arc::new(Admission::new(CAPACITY));
        let one = Quota { sessions: 1, ..Quota::default() };
        let first = enter(&admission, "ann", 10, one).unwrap();
        let (_, second) = wait(&admission, "ann", 10, one);
        let other = enter(&admission, "bob", 10, one).unwrap();
        assert!(second.try_recv().is_err());
        drop(first);
        drop((soon(&second).unwrap(), other));
        assert_eq!(admission.load().sessions, 0);
    }

    #[test]
    fn what_cannot_wait_is_refused_at_once() {
        let admission =
            Arc::new(Admission::new(Capacity { queue: 2, patience: Duration::from_millis(250), ..CAPACITY }));
        assert_eq!(enter(&admission, "ann", 101, Quota::default()).unwrap_err(), Denied::TooLarge(101));
        let all = enter(&admission, "ann", 100, Quota::default()).unwrap();
        let one = Quota { waiting: 1, ..Quota::default() };
        let (_, bob) = wait(&admission, "bob", 1, one);
        assert_eq!(enter(&admission, "bob", 1, one).unwrap_err(), Denied::Crowded);
        let (_, cat) = wait(&admission, "cat", 1, one);
        assert_eq!(enter(&admission, "dan", 1, one).unwrap_err(), Denied::Full);
        assert_eq!(soon(&bob).unwrap_err(), Denied::Late(0));
        assert!(matches!(soon(&cat).unwrap_err(), Denied::Late(_)));
        let gone = admission.enter(&who("eve"), 1, one, || true, |_| ());
        assert_eq!(gone.unwrap_err(), Denied::Gone);
        // Nobody who was refused is left behind.
        drop(all);
        assert_eq!(admission.load(), Load { limit_bytes: 100, ..Load::default() });
        drop(enter(&admission, "bob", 100, one).unwrap());
    }

    #[test]
    fn closing_and_shrinking_reach_those_who_wait() {
        let admission = Arc::new(Admission::new(CAPACITY));
        let all = enter(&admission, "ann", 100, Quota::default()).unwrap();
        let (_, large) = wait(&admission, "bob", 70, Quota::default());
        let (_, small) = wait(&admission, "cat", 7, Quota::default());
        admission.set(Capacity { memory_bytes: 50, ..CAPACITY });
        assert_eq!(soon(&large).unwrap_err(), Denied::TooLarge(70));
        admission.close();
        assert_eq!(soon(&small).unwrap_err(), Denied::Closed);
        drop(all);
        assert_eq!(enter(&admission, "ann", 1, Quota::default()).unwrap_err(), Denied::Closed);
    }

    #[test]
    fn many_at_once_never_take_more_than_there_is() {
        let admission = Arc::new(Admission::new(Capacity { queue: 100, ..CAPACITY }));
        std::thread::scope(|scope| {
            for turn in 0..24u64 {
                let admission = &admission;
                scope.spawn(move || {
                    let name = ["ann", "bob", "cat"][turn as usize % 3];
                    let quota = Quota { sessions: 2, ..Quota::default() };
                    let ticket = enter(admission, name, 20 + turn, quota).unwrap();
                    let load = admission.load();
                    assert!(load.sessions <= 3 && load.memory_bytes <= 100, "{load:?}");
                    std::thread::sleep(Duration::from_millis(2));
                    drop(ticket);
                });
            }
        });
        assert_eq!(admission.load(), Load { limit_bytes: 100, ..Load::default() });
    }
}
