//! A link between two TUN devices: delay, rate, loss and jitter, for real TCP to meet.
//!
//! The devices are standard input and standard output, which whoever starts this has opened; the
//! link ends when they go. Each direction is a link of its own: a packet is lost with the given
//! probability, else waits until those before it are sent, takes its size over the rate to be sent,
//! and arrives the delay and a random part of the jitter later. Packets keep their order, so none
//! arrives before the latest of those in front of it. Of those that wait to be sent there is room
//! for so many bytes; a packet beyond is dropped, as routers do.
//!
//! The devices take and give what a network card does that cuts and joins TCP's packets by itself
//! (the virtio network header, OASIS virtio 1.2, section 5.1.6): one read gives many packets of a
//! connection, as one. Each is sent, lost or dropped by itself; neighbours that arrive within
//! [`COALESCED`] are given on together. Else the link, for which two network cards would do this
//! work, would take more of the processors than the parties do.
//!
//! Standard library only: `rustc -O --edition 2024 link.rs` builds it. `bed.py` starts it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// As large as a read from a device gets.
const LARGEST_READ: usize = HEADER_BYTES + (1 << 16);
/// Packets arrive together whose arrivals lie so close to each other, as interrupts have it.
const COALESCED: Duration = Duration::from_micros(300);
/// The virtio network header without the number of buffers.
const HEADER_BYTES: usize = 10;

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

/// What one read of a device gives: one packet, or TCP's data for several.
struct Burst<'b> {
    bytes: &'b [u8],
    /// Where a packet's payload begins if there are several, and how much of it each has.
    cut: Option<(usize, usize)>,
}

impl Burst<'_> {
    /// Of the device's bytes. What is not TCP over IPv4 is one packet.
    fn new(bytes: &[u8]) -> Burst<'_> {
        let u16_at = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let whole = Burst { bytes, cut: None };
        if bytes.len() < HEADER_BYTES + 20 || bytes[1] & 0x7f != GSO_TCPV4 {
            return whole;
        }
        let ip = &bytes[HEADER_BYTES..];
        let tcp = usize::from(ip[0] & 0x0f) * 4;
        let Some(offset) = ip.get(tcp + 12) else { return whole };
        let payload = HEADER_BYTES + tcp + usize::from(offset >> 4) * 4;
        let size = u16_at(4);
        if size == 0 || payload >= bytes.len() { whole } else { Burst { bytes, cut: Some((payload, size)) } }
    }

    /// The sizes of its packets.
    fn packets(&self) -> impl Iterator<Item = usize> + use<> {
        let (len, cut) = (self.bytes.len(), self.cut);
        let (payload, size) = cut.unwrap_or((len, 1));
        let count = (len - payload).div_ceil(size).max(1);
        (0..count).map(move |number| payload - HEADER_BYTES + size.min(len - payload - number * size))
    }

    /// Its packets of these numbers, as a read would have given them alone.
    fn part(&self, numbers: Range<usize>) -> Vec<u8> {
        let Some((payload, size)) = self.cut else { return self.bytes.to_vec() };
        let (start, end) = (payload + numbers.start * size, self.bytes.len().min(payload + numbers.end * size));
        let mut part = self.bytes[..payload].to_vec();
        part.extend_from_slice(&self.bytes[start..end]);
        if numbers.len() == 1 {
            // No longer several.
            part[1] = 0;
            part[4..6].fill(0);
        }
        let (ip, len) = (&mut part[HEADER_BYTES..], (end - start + payload - HEADER_BYTES) as u16);
        let tcp = usize::from(ip[0] & 0x0f) * 4;
        ip[2..4].copy_from_slice(&len.to_be_bytes());
        let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(numbers.start as u16);
        ip[4..6].copy_from_slice(&id.to_be_bytes());
        ip[10..12].fill(0);
        let sum = !sum(&ip[..tcp], 0);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let sequence = u32::from_be_bytes([ip[tcp + 4], ip[tcp + 5], ip[tcp + 6], ip[tcp + 7]]);
        let sequence = sequence.wrapping_add((numbers.start * size) as u32);
        ip[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
        if end < self.bytes.len() {
            ip[tcp + 13] &= !(FIN | PSH);
        }
        if numbers.start > 0 {
            ip[tcp + 13] &= !CWR;
        }
        // What the card would go on from: the sum of the pseudo header (RFC 9293, section 3.1).
        let pseudo = sum_of_pseudo_header(ip, tcp, len);
        ip[tcp + 16..tcp + 18].copy_from_slice(&pseudo.to_be_bytes());
        part
    }
}

/// TCP over IPv4 for several packets, in the virtio network header.
const GSO_TCPV4: u8 = 1;
/// Flags of TCP.
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// The Internet checksum's sum (RFC 1071), not complemented, on top of `before`.
fn sum(bytes: &[u8], before: u32) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let all = before + words.sum::<u32>();
    let folded = (all & 0xffff) + (all >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

fn sum_of_pseudo_header(ip: &[u8], tcp: usize, len: u16) -> u16 {
    sum(&ip[12..20], u32::from(ip[9]) + u32::from(len) - tcp as u32)
}

impl Flow {
    /// What becomes of a burst that comes at `now`: its packets that arrive together, each with the
    /// time.
    fn carry(&mut self, now: Duration, burst: &Burst<'_>) -> Vec<(Duration, Vec<u8>)> {
        let (mut groups, mut last): (Vec<(Duration, Duration, Range<usize>)>, _) = (Vec::new(), None);
        for (number, bytes) in burst.packets().enumerate() {
            let Some(arrival) = self.take(now, bytes) else { continue };
            match groups.last_mut() {
                Some((first, end, numbers)) if last == number.checked_sub(1) && arrival - *first < COALESCED => {
                    (*end, *numbers) = (arrival, numbers.start..number + 1);
                }
                _ => groups.push((arrival, arrival, number..number + 1)),
            }
            last = Some(number);
        }
        groups.into_iter().map(|(_, end, numbers)| (end, burst.part(numbers))).collect()
    }

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
        let mut buffer = vec![0; LARGEST_READ];
        while let Ok(bytes @ 1..) = device.read(&mut buffer) {
            let arriving = flow.carry(began.elapsed(), &Burst::new(&buffer[..bytes]));
            let mut packets = self.lock();
            // Arrivals are in order: only who waits for a first one has to know.
            if packets.0.is_empty() && !arriving.is_empty() {
                self.changed.notify_all();
            }
            packets.0.extend(arriving);
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

    /// Of a device: TCP's data for so many packets of `size` bytes, the last of `last`.
    fn burst(count: usize, size: usize, last: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..(count - 1) * size + last).map(|i| i as u8).collect();
        let mut bytes = vec![1, GSO_TCPV4, 0, 0];
        bytes.extend((size as u16).to_le_bytes());
        bytes.extend([0; 4]);
        let len = (40 + payload.len()) as u16;
        let mut ip = vec![0x45, 0, 0, 0, 0, 7, 0, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2];
        ip[2..4].copy_from_slice(&len.to_be_bytes());
        let mut tcp = vec![0; 20];
        tcp[4..8].copy_from_slice(&(u32::MAX - 5).to_be_bytes());
        (tcp[12], tcp[13]) = (0x50, CWR | PSH | FIN | 0x10);
        [bytes, ip, tcp, payload].concat()
    }

    #[test]
    fn a_burst_is_cut_into_packets_that_a_card_would_have_sent() {
        let bytes = burst(3, 100, 30);
        let whole = Burst::new(&bytes);
        assert_eq!(whole.packets().collect::<Vec<_>>(), [140, 140, 70]);
        let flags = |part: &[u8]| part[HEADER_BYTES + 33];
        for (numbers, payload, id, sequence, expected) in [
            (0..1, 0..100, 7, u32::MAX - 5, CWR | 0x10),
            (0..2, 0..200, 7, u32::MAX - 5, CWR | 0x10),
            (1..3, 100..230, 8, 94, PSH | FIN | 0x10),
            (2..3, 200..230, 9, 194, PSH | FIN | 0x10),
        ] {
            let part = whole.part(numbers.clone());
            let ip = &part[HEADER_BYTES..];
            assert_eq!(&ip[40..], &bytes[HEADER_BYTES + 40..][payload]);
            assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len());
            assert_eq!(u16::from_be_bytes([ip[4], ip[5]]), id);
            assert_eq!(u32::from_be_bytes([ip[24], ip[25], ip[26], ip[27]]), sequence);
            assert_eq!(flags(&part), expected);
            // A header's sum, its own checksum included, has all bits set.
            assert_eq!(sum(&ip[..20], 0), 0xffff);
            let pseudo = [&ip[12..20], &[0, 6], &((ip.len() - 20) as u16).to_be_bytes()].concat();
            assert_eq!(ip[36..38], sum(&pseudo, 0).to_be_bytes());
            assert_eq!(part[1], if numbers.len() > 1 { GSO_TCPV4 } else { 0 });
        }
        // Whatever else comes is one packet.
        for bytes in [&bytes[..12], &[&[0; HEADER_BYTES][..], &[0x45; 60]].concat()] {
            assert_eq!(Burst::new(bytes).packets().collect::<Vec<_>>(), [bytes.len() - HEADER_BYTES]);
            assert_eq!(Burst::new(bytes).part(0..1), bytes);
        }
    }

    #[test]
    fn neighbours_arrive_together_and_what_is_lost_parts_them() {
        let bytes = burst(40, 1000, 1000);
        // A packet takes 104 microseconds.
        let mut link = flow("--mbit 80 --delay-ms 20");
        let groups = link.carry(us(0), &Burst::new(&bytes));
        assert_eq!(groups.iter().map(|(_, part)| (part.len() - HEADER_BYTES - 40) / 1000).sum::<usize>(), 40);
        assert_eq!(groups[0].0, us(20_000 + 3 * 104));
        assert!(groups.iter().all(|(_, part)| part.len() <= HEADER_BYTES + 40 + 3000));
        assert_eq!(link.count, Count { delivered: 40, bytes: 40 * 1040, lost: 0, dropped: 0 });
        let mut link = flow("--mbit 80000 --delay-ms 20 --loss 0.2 --seed 3");
        let groups = link.carry(us(0), &Burst::new(&bytes));
        let delivered: usize = groups.iter().map(|(_, part)| (part.len() - HEADER_BYTES - 40) / 1000).sum();
        assert_eq!((delivered as u64, delivered as u64 + link.count.lost), (link.count.delivered, 40));
        assert!(groups.len() > 2 && groups.len() < 20, "{}", groups.len());
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
