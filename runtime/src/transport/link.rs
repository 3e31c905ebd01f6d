//! A link inside this process with a rate and a delay, for benchmarks: what a network would make of
//! a session.
//!
//! Each direction sends its bytes one after the other at the link's rate; each byte arrives the
//! one-way delay after it was sent. Directions do not influence each other. Nothing is lost or
//! reordered, and a writer waits while [`WINDOW_BYTES`] are unread, as over TCP.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fusion_estimate::Network;

/// Bytes written and not yet read, in one direction: the buffers of both ends and what is on the
/// way. More than rate times delay of any usual network, so that it does not slow a reader who is
/// there.
pub const WINDOW_BYTES: usize = 16 << 20;

/// Bytes that arrive together.
const SEGMENT_BYTES: usize = 16 << 10;

/// The two ends of a link of `network`'s rate and delay, each as its reading and its writing half.
/// Either end may move to another thread. Dropping a writing half ends what the other end reads.
pub fn link(network: Network) -> [(LinkReader, LinkWriter); 2] {
    let [(there, from_left), (back, from_right)] = [pipe(network), pipe(network)];
    [(back, from_left), (there, from_right)]
}

/// The half of a link's end that receives.
pub struct LinkReader(Arc<Pipe>);

/// The half of a link's end that sends.
pub struct LinkWriter(Arc<Pipe>);

fn pipe(network: Network) -> (LinkReader, LinkWriter) {
    let pipe =
        Arc::new(Pipe { started: Instant::now(), state: Mutex::new(Flow::new(network)), changed: Condvar::new() });
    (LinkReader(Arc::clone(&pipe)), LinkWriter(pipe))
}

/// One direction.
struct Pipe {
    started: Instant,
    state: Mutex<Flow>,
    changed: Condvar,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Flow> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until the flow changes, or until `time` if that comes first.
    fn wait<'p>(&self, flow: MutexGuard<'p, Flow>, time: Option<Duration>) -> MutexGuard<'p, Flow> {
        match time {
            None => self.changed.wait(flow).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let left = time.saturating_sub(self.started.elapsed());
                self.changed.wait_timeout(flow, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

impl Read for LinkReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut flow = self.0.lock();
        loop {
            match flow.deliver(self.0.started.elapsed(), bytes) {
                Delivery::Bytes(count) => {
                    self.0.changed.notify_all();
                    return Ok(count);
                }
                Delivery::End => return Ok(0),
                Delivery::NotBefore(time) => flow = self.0.wait(flow, time),
            }
        }
    }
}

impl Drop for LinkReader {
    fn drop(&mut self) {
        self.0.lock().reader_gone = true;
        self.0.changed.notify_all();
    }
}

impl Write for LinkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut flow = self.0.lock();
        loop {
            if flow.reader_gone {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let taken = flow.take(self.0.started.elapsed(), bytes);
            if taken > 0 || bytes.is_empty() {
                self.0.changed.notify_all();
                return Ok(taken);
            }
            flow = self.0.wait(flow, None);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LinkWriter {
    fn drop(&mut self) {
        self.0.lock().writer_gone = true;
        self.0.changed.notify_all();
    }
}

/// One direction's bytes in time, which is given from outside as what has passed since the link was
/// made.
struct Flow {
    seconds_per_byte: f64,
    delay: Duration,
    /// When everything so far will have been sent.
    free: Duration,
    /// Segments by time of arrival.
    segments: VecDeque<(Duration, Vec<u8>)>,
    /// Bytes of the first segment that are read already.
    read: usize,
    unread: usize,
    writer_gone: bool,
    reader_gone: bool,
}

enum Delivery {
    Bytes(usize),
    /// Nothing has arrived; when something will, if anything is on the way.
    NotBefore(Option<Duration>),
    End,
}

impl Flow {
    fn new(network: Network) -> Flow {
        Flow {
            seconds_per_byte: network.seconds_per_byte(),
            delay: Duration::from_secs_f64(network.rtt_s() / 2.0),
            free: Duration::ZERO,
            segments: VecDeque::new(),
            read: 0,
            unread: 0,
            writer_gone: false,
            reader_gone: false,
        }
    }

    /// Sends as many of `bytes` as the window has room for, beginning at `now` or when the link is
    /// free; how many.
    fn take(&mut self, now: Duration, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(WINDOW_BYTES - self.unread);
        for segment in bytes[..taken].chunks(SEGMENT_BYTES) {
            let sending = Duration::from_secs_f64(segment.len() as f64 * self.seconds_per_byte);
            self.free = self.free.max(now) + sending;
            self.segments.push_back((self.free + self.delay, segment.to_vec()));
        }
        self.unread += taken;
        taken
    }

    /// Moves what has arrived by `now` to `bytes`.
    fn deliver(&mut self, now: Duration, bytes: &mut [u8]) -> Delivery {
        let mut count = 0;
        while let Some((arrival, segment)) = self.segments.front().filter(|_| count < bytes.len()) {
            if *arrival > now {
                break;
            }
            let some = (segment.len() - self.read).min(bytes.len() - count);
            bytes[count..count + some].copy_from_slice(&segment[self.read..self.read + some]);
            count += some;
            self.read += some;
            if self.read == segment.len() {
                self.segments.pop_front();
                self.read = 0;
            }
        }
        self.unread -= count;
        match self.segments.front() {
            _ if count > 0 || bytes.is_empty() => Delivery::Bytes(count),
            Some((arrival, _)) => Delivery::NotBefore(Some(*arrival)),
            None if self.writer_gone => Delivery::End,
            None => Delivery::NotBefore(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One byte per microsecond, ten milliseconds one way.
    const NETWORK: Network = Network { mbit_per_s: 8.0, rtt_ms: 20.0 };

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// What has arrived at `now`; at most `most` bytes.
    fn arrived(flow: &mut Flow, now: Duration, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        match flow.deliver(now, &mut bytes) {
            Delivery::Bytes(count) => bytes.truncate(count),
            Delivery::NotBefore(_) | Delivery::End => bytes.clear(),
        }
        bytes
    }

    #[test]
    fn a_message_arrives_when_it_is_sent_and_the_delay_has_passed() {
        let mut flow = Flow::new(NETWORK);
        assert_eq!(flow.take(us(500), &[7; 1000]), 1000);
        assert!(arrived(&mut flow, us(500 + 1000 + 10_000) - Duration::from_nanos(1), 2000).is_empty());
        assert!(
            matches!(flow.deliver(us(0), &mut [0]), Delivery::NotBefore(Some(time)) if time == us(500 + 1000 + 10_000))
        );
        assert_eq!(arrived(&mut flow, us(500 + 1000 + 10_000), 2000), [7; 1000]);
    }

    #[test]
    fn messages_wait_for_those_before_them_and_keep_their_order() {
        let mut flow = Flow::new(NETWORK);
        flow.take(us(0), &[1; 3000]);
        flow.take(us(100), &[2; 2000]);
        // After a pause the link begins anew.
        flow.take(us(50_000), &[3; 10]);
        assert_eq!(arrived(&mut flow, us(14_999), 9000), [1; 3000]);
        assert_eq!(arrived(&mut flow, us(15_000), 1500), [2; 1500]);
        assert_eq!(arrived(&mut flow, us(15_000), 1500), [2; 500]);
        assert!(arrived(&mut flow, us(60_009), 1500).is_empty());
        assert_eq!(arrived(&mut flow, us(60_010), 1500), [3; 10]);
    }

    #[test]
    fn long_messages_arrive_bit_by_bit_at_the_links_rate() {
        let mut flow = Flow::new(NETWORK);
        let bytes = 10 * SEGMENT_BYTES;
        assert_eq!(flow.take(us(0), &vec![1; bytes]), bytes);
        for segments in 1..=10 {
            let time = us((segments * SEGMENT_BYTES) as u64 + 10_000);
            assert_eq!(arrived(&mut flow, time - us(1), bytes).len(), 0, "{segments}");
            assert_eq!(arrived(&mut flow, time, bytes).len(), SEGMENT_BYTES, "{segments}");
        }
    }

    #[test]
    fn a_window_of_unread_bytes_is_all_that_is_taken() {
        let mut flow = Flow::new(NETWORK);
        let most = vec![0; WINDOW_BYTES + 5];
        assert_eq!(flow.take(us(0), &most), WINDOW_BYTES);
        assert_eq!(flow.take(us(0), &most), 0);
        assert_eq!(arrived(&mut flow, Duration::MAX, 3).len(), 3);
        assert_eq!(flow.take(us(0), &most), 3);
    }

    #[test]
    fn the_end_comes_after_the_last_byte() {
        let mut flow = Flow::new(NETWORK);
        flow.take(us(0), &[1]);
        flow.writer_gone = true;
        assert!(matches!(flow.deliver(us(0), &mut [0]), Delivery::NotBefore(Some(_))));
        assert!(matches!(flow.deliver(us(10_001), &mut [0]), Delivery::Bytes(1)));
        assert!(matches!(flow.deliver(us(10_001), &mut [0]), Delivery::End));
    }

    #[test]
    fn ends_are_joined_crosswise_and_directions_are_independent() {
        let fast = Network { mbit_per_s: 1e6, rtt_ms: 0.01 };
        let [(mut left_in, mut left_out), (mut right_in, mut right_out)] = link(fast);
        let [there, back] = [5u8, 250].map(|seed| -> Vec<u8> {
            (0..3 * WINDOW_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
        });
        // More than a window each way before either end reads: only independent directions get
        // through.
        std::thread::scope(|scope| {
            scope.spawn(|| left_out.write_all(&there).unwrap());
            scope.spawn(|| right_out.write_all(&back).unwrap());
            let (mut at_left, mut at_right) = (vec![0; back.len()], vec![0; there.len()]);
            left_in.read_exact(&mut at_left).unwrap();
            right_in.read_exact(&mut at_right).unwrap();
            assert!(at_left == back && at_right == there);
        });
        drop(left_out);
        assert_eq!(right_in.read(&mut [0]).unwrap(), 0);
        drop(left_in);
        assert_eq!(right_out.write(&[1]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
