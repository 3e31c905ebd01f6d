//! Measuring the network between the parties, while a client [asks](super::handshake::ask): no
//! session, no position.
//!
//! ```text
//! client -> server   how many pieces, 0 to end        server -> client   how many are granted
//! client -> server   that many pieces                 server -> client   an empty message for each
//! client -> server   an empty message for each        server -> client   that many pieces
//! ```
//!
//! and again; a server has only so many pieces on the way that are not known to have arrived. A
//! round trip is the time to a grant; a rate is that of the later half of a round's pieces, when
//! the connection is under way, or that of one piece where it takes long. The server grants so many
//! bytes and so much time, and measures with one client at a time.

use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use fusion_backends::{Channel, Error, Kind};
use fusion_estimate::Network;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const PIECE_BYTES: usize = 1 << 16;
/// What a server grants in all, each way.
const MOST_PIECES: u32 = 512;
/// For how long a server grants pieces. What it granted has come within twice that.
pub const LONGEST: Duration = Duration::from_secs(20);
/// A piece that takes so long says what the rate is.
const SLOW_PIECE: Duration = Duration::from_secs(1);
/// Pieces that are on their way to a client at most: what a server holds for it.
const AHEAD: u32 = 128;
/// What a client takes for a round that shows a rate.
const ROUND: Duration = Duration::from_millis(500);

/// The client's side; `None` if the server has no time for it.
///
/// # Errors
/// Whatever the channel gives.
pub fn measure(channel: &mut dyn Channel) -> Result<Option<Network>, Error> {
    let piece = piece();
    let (mut rtt_s, mut rate, mut piece_time) = (f64::INFINITY, None, Duration::ZERO);
    // Some for the round trip, then as many as the rate so far takes a while for.
    let mut next = [1, 1, 1, 1, 8].into_iter();
    let (mut last, began) = (0, Instant::now());
    loop {
        let per_round = |rate: f64| (rate * ROUND.as_secs_f64() / PIECE_BYTES as f64) as u32;
        let pieces = next.next().unwrap_or_else(|| match rate {
            Some(rate) if last < MOST_PIECES / 4 && per_round(rate) > last => per_round(rate).min(4 * last),
            _ => 0,
        });
        // A round that a slow link would not end in time is not begun.
        let pieces = if began.elapsed() + 2 * pieces * piece_time < LONGEST { pieces } else { 0 };
        let asked = Instant::now();
        channel.send(Kind::Probe, pieces.to_le_bytes().to_vec())?;
        let granted = number(&channel.receive(Kind::Probe, 4)?);
        if granted == 0 {
            break;
        }
        if granted > pieces {
            return Err(Error::PeerMisbehaved(format!("{pieces} pieces were asked for, and {granted} granted")));
        }
        rtt_s = rtt_s.min(asked.elapsed().as_secs_f64());
        let granted_at = Instant::now();
        (0..granted).try_for_each(|_| channel.send(Kind::Probe, piece.clone()))?;
        let up = arrivals(channel, granted, 0, began)?;
        let up_by = Instant::now();
        let down = arrivals(channel, granted, PIECE_BYTES, began)?;
        piece_time = (up_by - granted_at).max(up_by.elapsed()) / granted;
        match (up, down) {
            (Some(up), Some(down)) => rate = Some(up.min(down)),
            _ if piece_time > SLOW_PIECE => rate = Some(PIECE_BYTES as f64 / piece_time.as_secs_f64()),
            _ => {}
        }
        // Less than was asked for is all that is left.
        last = if granted < pieces { MOST_PIECES } else { granted };
    }
    Ok(rate.map(|rate| Network { mbit_per_s: rate * 8e-6, rtt_ms: rtt_s * 1e3 }))
}

/// Held while this process measures with a client.
static TURN: Mutex<()> = Mutex::new(());

/// The server's side.
///
/// # Errors
/// Whatever the channel gives.
pub fn serve(channel: &mut dyn Channel) -> Result<(), Error> {
    let turn = match TURN.try_lock() {
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
        Ok(turn) => Some(turn),
    };
    grant(channel, if turn.is_some() { MOST_PIECES } else { 0 })
}

/// Grants so many pieces in all.
fn grant(channel: &mut dyn Channel, mut left: u32) -> Result<(), Error> {
    let (piece, began) = (piece(), Instant::now());
    loop {
        let asked = number(&channel.receive(Kind::Probe, 4)?);
        let granted = if began.elapsed() < LONGEST { asked.min(left) } else { 0 };
        left -= granted;
        channel.send(Kind::Probe, granted.to_le_bytes().to_vec())?;
        if granted == 0 {
            return Ok(());
        }
        for _ in 0..granted {
            channel.receive(Kind::Probe, PIECE_BYTES)?;
            channel.send(Kind::Probe, Vec::new())?;
            in_time(began)?;
        }
        for sent in 0..granted {
            if sent >= AHEAD {
                channel.receive(Kind::Probe, 0)?;
                in_time(began)?;
            }
            channel.send(Kind::Probe, piece.clone())?;
        }
        for _ in 0..granted.min(AHEAD) {
            channel.receive(Kind::Probe, 0)?;
            in_time(began)?;
        }
    }
}

/// A peer that drips takes no longer than others.
fn in_time(began: Instant) -> Result<(), Error> {
    if began.elapsed() < 2 * LONGEST {
        return Ok(());
    }
    let text = format!("measuring the network took more than {} s", 2 * LONGEST.as_secs());
    Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text).into())
}

/// Receives `count` messages, and says of each piece that it has come; the bytes per second of
/// pieces that the later half stands for, if there are enough.
fn arrivals(channel: &mut dyn Channel, count: u32, payload_bytes: usize, began: Instant) -> Result<Option<f64>, Error> {
    let mut times = Vec::new();
    for _ in 0..count {
        channel.receive(Kind::Probe, payload_bytes)?;
        times.push(Instant::now());
        if payload_bytes > 0 {
            channel.send(Kind::Probe, Vec::new())?;
        }
        in_time(began)?;
    }
    let (Some(half), Some(end)) = (times.get(times.len() / 2 - usize::from(count > 1)), times.last()) else {
        return Ok(None);
    };
    let (pieces, seconds) = (count - count / 2, (*end - *half).as_secs_f64());
    Ok((count >= 8 && seconds > 0.0).then(|| f64::from(pieces) * PIECE_BYTES as f64 / seconds))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

/// Nothing that a link could compress.
fn piece() -> Vec<u8> {
    let mut piece = vec![0; PIECE_BYTES];
    ChaCha8Rng::seed_from_u64(0).fill_bytes(&mut piece);
    piece
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use fusion_backends::tap::{self, Message};

    use super::*;
    use crate::transport::{Connection, Lane, Link, link};

    /// The control lanes of two parties with a network between them.
    fn over(network: Network) -> [Box<dyn Channel>; 2] {
        link::link(network).map(|(reader, writer)| {
            let mut connection = Connection::new(reader, writer, Duration::from_secs(60)).unwrap();
            connection.open(Lane::CONTROL, 1 << 12).unwrap()
        })
    }

    #[test]
    fn what_is_measured_is_what_there_is() {
        for network in [Network { mbit_per_s: 40.0, rtt_ms: 30.0 }, Network { mbit_per_s: 8.0, rtt_ms: 2.0 }] {
            let [mut client, mut server] = over(network);
            let found = std::thread::scope(|scope| {
                scope.spawn(move || grant(&mut *server, MOST_PIECES).unwrap());
                measure(&mut *client).unwrap().unwrap()
            });
            // Not faster than it is. How much slower it seems is this machine's affair.
            assert!(found.rtt_ms >= network.rtt_ms && found.rtt_ms < 20.0 * network.rtt_ms, "{found:?} {network:?}");
            assert!(found.mbit_per_s < 1.3 * network.mbit_per_s, "{found:?} {network:?}");
            assert!(found.mbit_per_s > 0.2 * network.mbit_per_s, "{found:?} {network:?}");
        }
    }

    #[test]
    fn a_server_measures_with_one_client_at_a_time() {
        let ask = || {
            let [mut client, mut server] = over(Network { mbit_per_s: 1e3, rtt_ms: 0.1 });
            std::thread::scope(|scope| {
                scope.spawn(move || serve(&mut *server).unwrap());
                measure(&mut *client).unwrap()
            })
        };
        let turn = TURN.lock().unwrap();
        assert_eq!(ask(), None);
        drop(turn);
        assert!(ask().is_some());
    }

    #[test]
    fn a_slow_link_is_measured_by_single_pieces() {
        let network = Network { mbit_per_s: 0.45, rtt_ms: 10.0 };
        let [mut client, mut server] = over(network);
        let found = std::thread::scope(|scope| {
            scope.spawn(move || grant(&mut *server, MOST_PIECES).unwrap());
            measure(&mut *client).unwrap().unwrap()
        });
        assert!(found.mbit_per_s > 0.3 && found.mbit_per_s < 0.6, "{found:?}");
    }

    #[test]
    fn a_peer_that_drips_is_late_and_nothing_worse() {
        let before = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        in_time(before(39)).unwrap();
        let late = in_time(before(40)).unwrap_err();
        assert!(matches!(&late, Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut), "{late}");
    }

    #[test]
    fn so_many_pieces_and_no_more_are_on_the_way_without_word_of_their_arrival() {
        let [mut client, server] = over(Network { mbit_per_s: 1e5, rtt_ms: 0.1 });
        let sent = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&sent);
        let mut server = tap::watched(server, move |_, message| {
            if matches!(message, Message::Sending(payload) if payload.len() == PIECE_BYTES) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        std::thread::scope(|scope| {
            let server = scope.spawn(move || grant(&mut server, MOST_PIECES));
            client.send(Kind::Probe, (AHEAD + 70).to_le_bytes().to_vec()).unwrap();
            client.receive(Kind::Probe, 4).unwrap();
            (0..AHEAD + 70).for_each(|_| client.send(Kind::Probe, piece()).unwrap());
            (0..AHEAD + 70).for_each(|_| drop(client.receive(Kind::Probe, 0).unwrap()));
            (0..AHEAD).for_each(|_| drop(client.receive(Kind::Probe, PIECE_BYTES).unwrap()));
            // Word of two is worth two more, and then it waits for one that is gone.
            (0..2).for_each(|_| client.send(Kind::Probe, Vec::new()).unwrap());
            (0..2).for_each(|_| drop(client.receive(Kind::Probe, PIECE_BYTES).unwrap()));
            drop(client);
            server.join().unwrap().unwrap_err();
        });
        assert_eq!(sent.load(Ordering::SeqCst), AHEAD + 2);
    }

    #[test]
    fn a_server_grants_so_much_and_not_more() {
        let [mut client, mut server] = over(Network { mbit_per_s: 1e5, rtt_ms: 0.1 });
        std::thread::scope(|scope| {
            scope.spawn(move || grant(&mut *server, MOST_PIECES).unwrap());
            let mut granted = Vec::new();
            let mut ask = |pieces: u32| {
                client.send(Kind::Probe, pieces.to_le_bytes().to_vec()).unwrap();
                granted.push(number(&client.receive(Kind::Probe, 4).unwrap()));
                let granted = granted[granted.len() - 1];
                (0..granted).for_each(|_| client.send(Kind::Probe, piece()).unwrap());
                (0..granted).for_each(|_| drop(client.receive(Kind::Probe, 0).unwrap()));
                for _ in 0..granted {
                    assert!(client.receive(Kind::Probe, PIECE_BYTES).unwrap() == piece());
                    client.send(Kind::Probe, Vec::new()).unwrap();
                }
                granted
            };
            assert_eq!([ask(1), ask(u32::MAX), ask(1)], [1, MOST_PIECES - 1, 0]);
        });
    }
}
