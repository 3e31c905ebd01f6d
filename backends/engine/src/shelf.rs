//! What one thread makes ahead of another that uses it, in order.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::Error;

/// What is made ahead and how much memory it takes.
pub trait Stored {
    /// Bytes.
    fn bytes(&self) -> usize;
}

/// What was made and not yet taken: things under the names by which both threads know them. What
/// waits takes up no more memory than was said, but that of the largest thing.
///
/// After an error nothing more is handed out, not even what was made before.
pub struct Shelf<K, V> {
    stock: Mutex<Stock<K, V>>,
    changed: Condvar,
    most_bytes: usize,
    /// What it is that failed, for who comes later.
    what: &'static str,
}

struct Stock<K, V> {
    things: VecDeque<(K, V)>,
    bytes: usize,
    end: Option<End>,
}

/// Why no more will come.
enum End {
    /// All that was announced was made.
    Finished,
    /// Making failed.
    Failed(Error),
    /// It had failed, or what was made is not wanted any more; whether the peer misbehaved.
    Over(bool),
}

impl<K: PartialEq + Debug, V: Stored> Shelf<K, V> {
    /// An empty one with room for `most_bytes` of what is named `what`.
    pub fn new(most_bytes: usize, what: &'static str) -> Shelf<K, V> {
        let stock = Stock { things: VecDeque::new(), bytes: 0, end: None };
        Shelf { stock: Mutex::new(stock), changed: Condvar::new(), most_bytes, what }
    }

    /// Stores what was made once there is room. False if there is no point in making more.
    pub fn put(&self, name: K, made: Result<V, Error>) -> bool {
        let mut stock = self.lock();
        match made {
            Ok(thing) => {
                let bytes = thing.bytes();
                while stock.end.is_none() && !stock.things.is_empty() && stock.bytes + bytes > self.most_bytes {
                    stock = self.changed.wait(stock).unwrap_or_else(PoisonError::into_inner);
                }
                if stock.end.is_some() {
                    return false;
                }
                stock.things.push_back((name, thing));
                stock.bytes += bytes;
            }
            Err(error) => stock.fail(End::Failed(error)),
        }
        self.changed.notify_all();
        stock.end.is_none()
    }

    /// Takes the next thing once it is there.
    ///
    /// # Errors
    /// Why making it failed, with the blame of the first failure.
    ///
    /// # Panics
    /// If it has another name, or no more was announced.
    pub fn take(&self, name: &K) -> Result<V, Error> {
        let mut stock = self.lock();
        loop {
            if let Some((made, thing)) = stock.things.pop_front() {
                assert_eq!(made, *name, "another need than was announced");
                stock.bytes -= thing.bytes();
                self.changed.notify_all();
                return Ok(thing);
            }
            match stock.end.take() {
                None => stock = self.changed.wait(stock).unwrap_or_else(PoisonError::into_inner),
                Some(End::Finished) => panic!("more needs than were announced"),
                Some(End::Failed(error)) => {
                    stock.end = Some(End::Over(matches!(error, Error::PeerMisbehaved(_))));
                    return Err(error);
                }
                Some(End::Over(peer_misbehaved)) => {
                    stock.end = Some(End::Over(peer_misbehaved));
                    return Err(self.ended(peer_misbehaved));
                }
            }
        }
    }

    /// Ends the making. True if it had finished.
    pub fn close(&self) -> bool {
        let mut stock = self.lock();
        let finished = matches!(stock.end, Some(End::Finished));
        if stock.end.is_none() {
            stock.fail(End::Over(false));
        }
        self.changed.notify_all();
        finished
    }

    fn ended(&self, peer_misbehaved: bool) -> Error {
        let why = format!("an earlier failure ended the session's {}", self.what);
        match peer_misbehaved {
            true => Error::PeerMisbehaved(why),
            false => Error::Io(std::io::Error::other(why)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stock<K, V>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For tests: waits until no more is made; how much is there.
    #[cfg(test)]
    pub fn ended_with(&self) -> usize {
        let mut stock = self.lock();
        while stock.end.is_none() {
            stock = self.changed.wait(stock).unwrap();
        }
        stock.things.len()
    }
}

impl<K, V> Stock<K, V> {
    fn fail(&mut self, end: End) {
        self.things.clear();
        self.bytes = 0;
        self.end = Some(end);
    }
}

/// Who fills a shelf: whatever ends it, a panic included, ends the wait for it.
pub struct Filling<K, V>(Arc<Shelf<K, V>>);

impl<K: PartialEq + Debug, V: Stored> Filling<K, V> {
    /// Of this shelf.
    pub fn of(shelf: &Arc<Shelf<K, V>>) -> Filling<K, V> {
        Filling(Arc::clone(shelf))
    }

    /// As [`Shelf::put`].
    pub fn put(&self, name: K, made: Result<V, Error>) -> bool {
        self.0.put(name, made)
    }

    /// Making failed, which whoever waits is told likewise.
    pub fn failed(&self, error: &Error) {
        self.0.lock().fail(End::Failed(error.again()));
        self.0.changed.notify_all();
    }

    /// All that was announced is made.
    pub fn finished(self) {
        self.0.lock().end.get_or_insert(End::Finished);
    }
}

impl<K, V> Drop for Filling<K, V> {
    fn drop(&mut self) {
        let mut stock = self.0.stock.lock().unwrap_or_else(PoisonError::into_inner);
        if stock.end.is_none() {
            stock.fail(End::Over(false));
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    impl Stored for u64 {
        fn bytes(&self) -> usize {
            8
        }
    }

    fn shelf() -> Arc<Shelf<u8, u64>> {
        Arc::new(Shelf::new(16, "numbers"))
    }

    #[test]
    fn things_are_taken_in_order_and_who_makes_them_waits_for_room() {
        let shelf = shelf();
        let filling = Filling::of(&shelf);
        let maker = std::thread::spawn(move || {
            assert!((0..5).all(|name| filling.put(name, Ok(10 + u64::from(name)))));
            filling.finished();
        });
        while shelf.lock().things.len() < 2 {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(shelf.lock().things.len(), 2, "there is room for two");
        assert!((0..5).all(|name| shelf.take(&name).unwrap() == 10 + u64::from(name)));
        maker.join().unwrap();
        assert!(shelf.close());
    }

    /// Nothing is handed out any more; the first to ask hears why, with its kind.
    #[test]
    fn a_failure_is_told_as_it_was() {
        let shelf = shelf();
        let filling = Filling::of(&shelf);
        assert!(filling.put(0, Ok(1)));
        let error = Error::Io(std::io::Error::new(ErrorKind::UnexpectedEof, "the peer hung up"));
        filling.failed(&error);
        drop(filling);
        let Err(Error::Io(told)) = shelf.take(&0) else { panic!("it was made before, and is not wanted now") };
        assert_eq!((told.kind(), told.to_string()), (ErrorKind::UnexpectedEof, "the peer hung up".into()));
        let Err(Error::Io(later)) = shelf.take(&0) else { panic!() };
        assert_eq!(later.to_string(), "an earlier failure ended the session's numbers");

        let shelf = self::shelf();
        Filling::of(&shelf).failed(&Error::PeerMisbehaved("nonsense".into()));
        for expected in ["nonsense", "an earlier failure ended the session's numbers"] {
            let Err(Error::PeerMisbehaved(why)) = shelf.take(&0) else { panic!() };
            assert_eq!(why, expected);
        }
    }

    #[test]
    fn whoever_gives_up_ends_the_wait_of_the_other() {
        let shelf = shelf();
        drop(Filling::of(&shelf));
        assert!(matches!(shelf.take(&0), Err(Error::Io(_))));
        let shelf = self::shelf();
        let filling = Filling::of(&shelf);
        assert!(!shelf.close());
        assert!(!filling.put(0, Ok(1)));
    }
}
