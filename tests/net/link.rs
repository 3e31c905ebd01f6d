//! A link between two TUN devices: delay, rate, loss and jitter, for real TCP to meet.
//!
//! The devices are standard input and standard output, which whoever starts this has opened; the
//! link ends when they go. Each direction is a link of its own: a packet is lost with the given
//! probability, else waits until those before it are sent, takes its size over the rate to be sent,
//! and arrives the delay and a random part of the jitter later. Packets keep their order, so none
//! arrives before the latest of those in front of it. Of those that wait to be sent there is room
//! for so many bytes; a packet beyond is dropped, as routers do.
//!
//! Standard library only: `rustc -O --edition 2024 link.rs` builds it. `bed.py` starts it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Larger than any packet of a TUN device without offloading.
const LARGEST_PACKET: usize = 1 << 16;

/// What the link is like, each way.
#[derive(Clone, Copy, Debug)]
struct Profile {
    /// One way.
    delay: Duration,
    /// At most so much more, evenly distributed.
    jitter: Duration,
    bytes_per_second: f64,
    /// Probability that a packet is lost.
    loss: f64,
    /// Room for packets that wait to be sent.
    queue_bytes: f64,
}

/// One direction, in time since the link was made.
struct Flow {
    profile: Profile,
    dice: u64,
    /// When everything so far will have been sent.
    free: Duration,
    /// When the last packet arrives.
    last: Duration,
    count: Count,
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    delivered: u64,
    bytes: u64,
    lost: u64,
    dropped: u64,
}

impl Flow {
    fn new(profile: Profile, seed: u64) -> Flow {
        let dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Flow { profile, dice, free: Duration::ZERO, last: Duration::ZERO, count: Count::default() }
    }

    /// A packet of so many bytes comes at `now`; when it arrives, if it does.
    fn take(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let Profile { delay, jitter, bytes_per_second, loss, queue_bytes } = self.profile;
        let waiting = self.free.saturating_sub(now).as_secs_f64() * bytes_per_second;
        if waiting + bytes as f64 > queue_bytes {
            self.count.dropped += 1;
            return None;
        }
        // Lost on the way, so it takes its time to be sent.
        self.free = self.free.max(now) + Duration::from_secs_f64(bytes as f64 / bytes_per_second);
        if self.random() < loss {
            self.count.lost += 1;
            return None;
        }
        self.last = self.last.max(self.free + delay + jitter.mul_f64(self.random()));
        self.count.delivered += 1;
        self.count.bytes += bytes as u64;
        Some(self.last)
    }

    /// Evenly distributed in `0.0..1.0`: xorshift64* (Vigna, 2014).
    fn random(&mut self) -> f64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        (self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// When each packet arrives, and whether no more will come.
type Packets = (VecDeque<(Duration, Vec<u8>)>, bool);

/// Packets on their way, and who waits for them.
#[derive(Default)]
struct Way {
    packets: Mutex<Packets>,
    changed: Condvar,
}

impl Way {
    fn lock(&self) -> MutexGuard<'_, Packets> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes packets from `device` until it goes.
    fn collect(&self, mut device: File, mut flow: Flow, began: Instant) -> Count {
        let mut buffer = vec![0; LARGEST_PACKET];
        while let Ok(bytes @ 1..) = device.read(&mut buffer) {
            if let Some(arrival) = flow.take(began.elapsed(), bytes) {
                let mut packets = self.lock();
                packets.0.push_back((arrival, buffer[..bytes].to_vec()));
                // Arrivals are in order: only who waits for a first one has to know.
                if packets.0.len() == 1 {
                    self.changed.notify_all();
                }
            }
        }
        self.lock().1 = true;
        self.changed.notify_all();
        flow.count
    }

    /// Gives packets to `device` when they arrive.
    fn deliver(&self, mut device: File, began: Instant) {
        let mut packets = self.lock();
        loop {
            let left = packets.0.front().map(|(arrival, _)| arrival.saturating_sub(began.elapsed()));
            match left {
                Some(Duration::ZERO) => {
                    let Some((_, packet)) = packets.0.pop_front() else { continue };
                    drop(packets);
                    // A device that is down takes nothing: the packet is lost.
                    let _ = device.write(&packet);
                    packets = self.lock();
                }
                _ if packets.1 => return,
                Some(left) => {
                    packets = self.changed.wait_timeout(packets, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => packets = self.changed.wait(packets).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Reads `--mbit N --delay-ms N [--jitter-ms N] [--loss N] [--queue-bytes N] [--seed N]`.
fn arguments(mut words: impl Iterator<Item = String>) -> Result<(Profile, u64), String> {
    let (mut mbit, mut delay_ms, mut jitter_ms, mut loss, mut queue_bytes, mut seed) = (0.0, -1.0, 0.0, 0.0, 0.0, 1.0);
    while let Some(flag) = words.next() {
        let place = match flag.as_str() {
            "--mbit" => &mut mbit,
            "--delay-ms" => &mut delay_ms,
            "--jitter-ms" => &mut jitter_ms,
            "--loss" => &mut loss,
            "--queue-bytes" => &mut queue_bytes,
            "--seed" => &mut seed,
            _ => return Err(format!("{flag} is no flag of this program")),
        };
        let value = words.next().ok_or_else(|| format!("{flag} needs a number"))?;
        let number: f64 = value.parse().map_err(|_| format!("{flag} needs a number, not {value}"))?;
        if !(number.is_finite() && number >= 0.0) {
            return Err(format!("{flag} must not be negative, but is {value}"));
        }
        *place = number;
    }
    if mbit <= 0.0 || delay_ms < 0.0 || loss > 1.0 {
        return Err("--mbit is positive, --delay-ms is given, and --loss is at most 1".into());
    }
    let bytes_per_second = mbit * 1e6 / 8.0;
    let [delay, jitter] = [delay_ms, jitter_ms].map(|ms| Duration::from_secs_f64(ms / 1e3));
    if queue_bytes == 0.0 {
        // What is on the way there and back, as a rule of thumb has it, and a burst at least.
        queue_bytes = (bytes_per_second * 2.0 * delay.as_secs_f64()).max(256e3);
    }
    Ok((Profile { delay, jitter, bytes_per_second, loss, queue_bytes }, seed as u64))
}

fn main() {
    let (profile, seed) = arguments(std::env::args().skip(1)).unwrap_or_else(|why| {
        eprintln!("link: {why}");
        std::process::exit(2);
    });
    let (input, output) = (std::io::stdin(), std::io::stdout());
    let device = |fd: std::os::fd::BorrowedFd<'_>| -> [File; 2] {
        [(); 2].map(|()| File::from(fd.try_clone_to_owned().expect("the device is open")))
    };
    let ([a_in, a_out], [b_in, b_out]) = (device(input.as_fd()), device(output.as_fd()));
    let began = Instant::now();
    let (there, back) = (Way::default(), Way::default());
    std::thread::scope(|scope| {
        let counts = [(&there, a_in, b_out, seed), (&back, b_in, a_out, seed + 1)].map(|(way, from, to, seed)| {
            scope.spawn(move || way.deliver(to, began));
            scope.spawn(move || way.collect(from, Flow::new(profile, seed), began))
        });
        for (direction, count) in ["there", "back"].into_iter().zip(counts) {
            let Ok(Count { delivered, bytes, lost, dropped }) = count.join() else { continue };
            eprintln!("link {direction}: {delivered} packets, {bytes} bytes, {lost} lost, {dropped} dropped");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(words: &str) -> Flow {
        let (profile, seed) = arguments(words.split(' ').map(String::from)).unwrap();
        Flow::new(profile, seed)
    }

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn a_packet_waits_for_those_before_it_and_takes_its_time() {
        // A byte takes a microsecond.
        let mut flow = flow("--mbit 8 --delay-ms 20");
        assert_eq!(flow.take(us(100), 1000), Some(us(21_100)));
        assert_eq!(flow.take(us(200), 500), Some(us(21_600)));
        assert_eq!(flow.take(us(50_000), 500), Some(us(70_500)));
        assert_eq!(flow.count, Count { delivered: 3, bytes: 2000, lost: 0, dropped: 0 });
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut flow = flow("--mbit 8 --delay-ms 20 --queue-bytes 2500");
        let arrivals = [(); 4].map(|()| flow.take(us(0), 1000).is_some());
        assert_eq!(arrivals, [true, true, false, false]);
        // Half of the first one has been sent.
        assert!(flow.take(us(500), 1000).is_some());
        assert_eq!(flow.count.dropped, 2);
    }

    #[test]
    fn losses_are_as_frequent_as_said_and_jitter_keeps_the_order() {
        let mut flow = flow("--mbit 1000 --delay-ms 5 --jitter-ms 2 --loss 0.01 --seed 7");
        let (mut before, mut least, mut most) = (us(0), us(1 << 40), us(0));
        for turn in 0..100_000 {
            let now = us(10_000 * turn);
            let Some(arrival) = flow.take(now, 125) else { continue };
            assert!(arrival >= before);
            (before, least, most) = (arrival, least.min(arrival - now), most.max(arrival - now));
        }
        // Six standard deviations of a binomial distribution.
        assert!((800..1200).contains(&flow.count.lost), "{}", flow.count.lost);
        assert!(least >= us(5001) && least < us(5100) && most <= us(7001) && most > us(6900), "{least:?} {most:?}");
    }

    #[test]
    fn what_is_no_link_is_refused() {
        for words in [
            "--mbit 3",
            "--delay-ms 3",
            "--mbit x",
            "--mbit",
            "--mbit -1",
            "--speed 3",
            "--mbit 1 --delay-ms 1 --loss 2",
        ] {
            assert!(arguments(words.split(' ').map(String::from)).is_err(), "{words}");
        }
    }
}
