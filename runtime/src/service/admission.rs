//! Which session may start when: one lock decides.
//!
//! Sessions start in the order in which they came. One that does not fit in memory beside those
//! that run waits, and all behind it wait too, so that a large one is not starved by small ones.
//! Only who has as many sessions as a client may have at once is passed over.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::transport::{Identity, Turn};

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
    /// When sessions that run will end, by their numbers, as far as that is known.
    ends: HashMap<u64, Option<Instant>>,
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
    takes: Option<Duration>,
}

/// What a session asks for.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Memory, by forecast.
    pub memory_bytes: u64,
    /// About how long it will take, if that is known.
    pub takes: Option<Duration>,
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
    number: u64,
    client: Identity,
    memory_bytes: u64,
}

impl Admission {
    /// Nothing is taken yet.
    pub fn new(capacity: Capacity) -> Admission {
        let (running, ends, queue) = (HashMap::new(), HashMap::new(), VecDeque::new());
        let state = State { capacity, closed: false, running, ends, sessions: 0, memory_bytes: 0, queue, next: 0 };
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

    /// When the turn of a session came that asked for one now.
    pub fn outlook(&self) -> Turn {
        let state = self.lock();
        let free = state.queue.is_empty() && state.sessions < state.capacity.sessions;
        let wait = if free { Some(Duration::ZERO) } else { state.wait(u64::MAX, Instant::now()) };
        Turn { before: u32::try_from(state.queue.len()).unwrap_or(u32::MAX), wait: wait.map(whole_seconds) }
    }

    /// Waits for the turn of a session of `client` that takes what `need` says. If it has to wait,
    /// `waits` is told when its turn will come, and again whenever that changes; `gone` is asked
    /// now and then.
    ///
    /// # Errors
    /// Why it may not start; nothing is taken then.
    pub fn enter(
        self: &Arc<Admission>,
        client: &Identity,
        need: Need,
        quota: Quota,
        gone: impl Fn() -> bool,
        mut waits: impl FnMut(Turn),
    ) -> Result<Ticket, Denied> {
        let came = Instant::now();
        let mut state = self.lock();
        let number = state.join(client, need, quota)?;
        let mut told = None;
        loop {
            if let Err(denied) = state.may_wait(number, came) {
                state.leave(number);
                self.changed.notify_all();
                return Err(denied);
            }
            if state.has_turn(number) {
                state.leave(number);
                state.sessions += 1;
                state.memory_bytes += need.memory_bytes;
                state.ends.insert(number, need.takes.and_then(|takes| Instant::now().checked_add(takes)));
                *state.running.entry(client.clone()).or_default() += 1;
                // The next one may fit too.
                self.changed.notify_all();
                let (admission, client, memory_bytes) = (Arc::clone(self), client.clone(), need.memory_bytes);
                return Ok(Ticket { admission, number, client, memory_bytes });
            }
            let turn = state.turn(number);
            if told.replace(turn) != Some(turn) {
                drop(state);
                waits(turn);
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
    fn join(&mut self, client: &Identity, need: Need, quota: Quota) -> Result<u64, Denied> {
        let Need { memory_bytes, takes } = need;
        if self.closed {
            return Err(Denied::Closed);
        }
        if memory_bytes > self.capacity.memory_bytes {
            return Err(Denied::TooLarge(memory_bytes));
        }
        let number = self.next;
        self.next += 1;
        let waiting = Waiting { number, client: client.clone(), at_once: quota.sessions.max(1), memory_bytes, takes };
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
    fn may_wait(&self, number: u64, came: Instant) -> Result<(), Denied> {
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

    /// When number `number` has its turn.
    fn turn(&self, number: u64) -> Turn {
        let before = u32::try_from(self.before(number)).unwrap_or(u32::MAX);
        Turn { before, wait: self.wait(number, Instant::now()).map(whole_seconds) }
    }

    /// How long that takes, if it is known of all that come before: as if as many sessions would
    /// run at once as do now.
    fn wait(&self, number: u64, now: Instant) -> Option<Duration> {
        let left = |end: &Option<Instant>| Some((*end)?.saturating_duration_since(now));
        let mut places = self.ends.values().map(left).collect::<Option<Vec<Duration>>>()?;
        for waiting in self.queue.iter().take_while(|waiting| waiting.number != number) {
            let first = places.iter_mut().min()?;
            *first = first.saturating_add(waiting.takes?);
        }
        places.into_iter().min()
    }

    fn before(&self, number: u64) -> usize {
        self.queue.iter().take_while(|waiting| waiting.number != number).count()
    }

    fn leave(&mut self, number: u64) {
        self.queue.retain(|waiting| waiting.number != number);
    }
}

/// Rounded up.
fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.sessions -= 1;
        state.ends.remove(&self.number);
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
        admission.enter(&who(name), need(bytes), quota, here, |_| ())
    }

    fn need(memory_bytes: u64) -> Need {
        Need { memory_bytes, takes: None }
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
            let told = |turn: Turn| {
                let _ = waits.send(turn.before as usize);
            };
            let entered = admission.enter(&who(name), need(bytes), quota, here, told);
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
        let gone = admission.enter(&who("eve"), need(1), one, || true, |_| ());
        assert_eq!(gone.unwrap_err(), Denied::Gone);
        // Nobody who was refused is left behind.
        drop(all);
        assert_eq!(admission.load(), Load { limit_bytes: 100, ..Load::default() });
        drop(enter(&admission, "bob", 100, one).unwrap());
    }

    #[test]
    fn who_waits_is_told_its_place_and_about_how_long_whenever_that_changes() {
        let admission = Arc::new(Admission::new(Capacity { sessions: 2, ..CAPACITY }));
        assert_eq!(admission.outlook(), Turn { before: 0, wait: Some(Duration::ZERO) });
        let needs = |seconds| Need { memory_bytes: 1, takes: Some(Duration::from_secs(seconds)) };
        let enters = |seconds| admission.enter(&who("ann"), needs(seconds), Quota::default(), here, |_| ()).unwrap();
        let (long, short) = (enters(1000), enters(200));
        let (turns, told) = mpsc::channel();
        // After the short one; after that one and who came before.
        for (name, seconds, before, after) in [("bob", 100, 0, 200), ("cat", 3, 1, 300), ("dan", 3, 2, 303)] {
            let (admission, own) = (Arc::clone(&admission), turns.clone());
            std::thread::spawn(move || {
                let tell = |turn| own.send((name, turn)).unwrap();
                let ticket = admission.enter(&who(name), needs(seconds), Quota::default(), here, tell);
                // Those behind have time to hear of it.
                std::thread::sleep(Duration::from_millis(400));
                drop(ticket);
            });
            // The others are told again as time passes.
            let told = || told.recv_timeout(Duration::from_secs(10)).unwrap();
            let (_, turn) = std::iter::repeat_with(told).find(|(who, _)| *who == name).unwrap();
            let wait = turn.wait.unwrap().as_secs();
            assert!(turn.before == before && (after - 5..=after).contains(&wait), "{name}: {turn:?}");
        }
        let outlook = admission.outlook();
        assert!(
            outlook.before == 3 && outlook.wait.is_some_and(|wait| wait >= Duration::from_secs(300)),
            "{outlook:?}"
        );
        drop(short);
        // All get through, one after the other, and hear that fewer are before them.
        drop(turns);
        let all: Vec<(&str, Turn)> = told.iter().collect();
        assert!(all.iter().any(|(name, turn)| *name == "dan" && turn.before < 2), "{all:?}");
        drop(long);
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
