//! Both directions of correlations, honest and not, and their wire.

use std::process::Command;
use std::sync::{Arc, Mutex};

use fusion_catalogue::cpu;
use fusion_catalogue::ot::{Ferret, OtPool, Ots};

use super::*;
use crate::bits::Bits;
use crate::channel::{LocalChannel, pair};
use crate::kernels::COLUMNS;
use crate::tap::{Log, Message, logged, watched};

const ID: [u8; 32] = [3; 32];

/// Runs both parties' `run` on an established session.
fn both<T: Send>(k: u8, run: impl Fn(Party, &mut Correlations, &mut LocalChannel) -> T + Sync) -> [T; 2] {
    let (left, right) = pair();
    let side = |party, mut channel: LocalChannel| {
        let supply = OtSource::SoftSpoken(SoftSpoken::new(k).unwrap());
        let mut correlations = Correlations::establish(party, &mut channel, &ID, supply).unwrap();
        run(party, &mut correlations, &mut channel)
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| side(Party::Server, right));
        [side(Party::Client, left), server.join().unwrap()]
    })
}

pub(super) fn check_direction(ots: &Ots, sending: &mut SenderPads, receiving: &mut ReceiverPads) {
    let [zero, sum] = sending.bits(ots.bits as usize);
    let [choice, pad] = receiving.bits(ots.bits as usize);
    assert_eq!(pad, zero.xor(&choice.and(&sum)));
    let pairs = ots.pairs as usize;
    let ([zeros, sums], (choice, pads)) = (sending.pairs(pairs), receiving.pairs(pairs));
    for i in 0..2 {
        assert_eq!(pads[i], zeros[i].xor(&choice.and(&sums[i])));
    }
    let (choice, words) = receiving.words(ots.words as usize);
    let [zeros, ones] = sending.words(ots.words as usize);
    for (i, choice) in choice.iter().enumerate() {
        assert_eq!(words[i], if choice == 1 { ones[i] } else { zeros[i] });
        assert_ne!(zeros[i], ones[i]);
    }
    for (width, n) in ots.tables().filter(|(_, n)| *n > 0) {
        let (pads, (choices, chosen)) = (sending.tables(width, n as usize), receiving.tables(width, n as usize));
        assert_eq!((pads.len(), choices.len()), (1 << width, width));
        for i in 0..n as usize {
            let bit = |bits: &Bits| bits.iter().nth(i).unwrap();
            let choice = choices.iter().rev().fold(0, |choice, bits| choice << 1 | bit(bits));
            let pad = &pads[choice as usize];
            assert_eq!(chosen.iter().map(bit).collect::<Vec<_>>(), pad.iter().map(bit).collect::<Vec<_>>());
        }
    }
    assert!(sending.is_empty() && receiving.is_empty());
}

#[test]
fn silent_pads_are_random_ots_whose_messages_were_predicted() {
    let set = Ferret::B11;
    let rows = set.round_tiles() * COLUMNS as u64;
    let ots = |bits| Ots { bits, pairs: 129, words: 1000, tables: [300, 129, 3] };
    let needs = [
        OtCount { client_receives: ots(1), server_receives: Ots::default() },
        OtCount { client_receives: ots(100), server_receives: ots(0) },
        // Each direction's second round begins within a draw.
        OtCount { client_receives: ots(rows), server_receives: ots(rows) },
        OtCount { client_receives: Ots::default(), server_receives: Ots { words: 1, ..Ots::default() } },
    ];
    let supply = OtSource::Silent(set);
    let (left, right) = pair();
    let logs = [Log::default(), Log::default()];
    let side = |party: Party, channel| {
        let mut channel = logged(channel, party, &logs[party as usize]);
        let mut correlations = Correlations::establish(party, &mut channel, &ID, supply).unwrap();
        needs.map(|need| correlations.draw(&mut channel, &need).unwrap())
    };
    let (mut client, mut server) = std::thread::scope(|scope| {
        let server = scope.spawn(|| side(Party::Server, right));
        (side(Party::Client, left), server.join().unwrap())
    });
    let mut stock = OtPool::new(supply);
    let mut cost = supply.setup();
    for (need, (client, server)) in needs.iter().zip(client.iter_mut().zip(&mut server)) {
        cost.then(&stock.draw(need));
        check_direction(&need.client_receives, &mut server.sending, &mut client.receiving);
        check_direction(&need.server_receives, &mut client.sending, &mut server.receiving);
    }
    assert_eq!(*logs[Party::Client as usize].lock().unwrap(), cost.messages);
}

#[test]
fn pads_are_random_ots_in_both_directions() {
    let needs = [
        OtCount {
            client_receives: Ots { bits: 40_000, pairs: 129, words: 1000, tables: [300, 129, 3] },
            server_receives: Ots { bits: 0, pairs: 300, words: 1, tables: [0, 1, 200] },
        },
        OtCount { client_receives: Ots::default(), server_receives: Ots { bits: 64, ..Ots::default() } },
    ];
    for k in [2, 4] {
        let [mut client, mut server] =
            both(k, |_, correlations, channel| needs.map(|need| correlations.draw(channel, &need).unwrap()));
        for (need, (client, server)) in needs.iter().zip(client.iter_mut().zip(&mut server)) {
            check_direction(&need.client_receives, &mut server.sending, &mut client.receiving);
            check_direction(&need.server_receives, &mut client.sending, &mut server.receiving);
        }
    }
}

/// As far as sums of them can tell.
#[test]
fn the_pads_of_a_table_are_independent() {
    let ots = Ots { tables: [20_000, 0, 0], ..Ots::default() };
    let need = OtCount { client_receives: ots, ..OtCount::default() };
    let [_, server] = both(4, |party, correlations, channel| {
        let mut pads = correlations.draw(channel, &need).unwrap();
        (party == Party::Server).then(|| pads.sending.tables(2, 20_000))
    });
    let pads: Vec<Bits> = server.expect("the server's").into_iter().flatten().collect();
    for subset in 1..1u32 << 8 {
        let chosen = pads.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1);
        let sum = chosen.fold(Bits::zeros(20_000), |sum, (_, pad)| sum.xor(pad));
        let ones: u64 = sum.iter().sum();
        assert!((9_600..10_400).contains(&ones), "{ones} of 20000 sums of {subset:b} are one");
    }
}

#[test]
fn pads_look_random() {
    let ots = Ots { bits: 10_000, ..Ots::default() };
    let need = OtCount { client_receives: ots, server_receives: ots };
    let [client, server] = both(4, |_, correlations, channel| {
        let mut pads = correlations.draw(channel, &need).unwrap();
        [pads.sending.bits(10_000), pads.receiving.bits(10_000)]
    });
    for bits in [client, server].iter().flatten().flatten() {
        let ones: u64 = bits.iter().sum();
        assert!((4700..5300).contains(&ones), "{ones} of 10000 bits are one");
    }
}

#[test]
fn a_corrupted_extension_voids_the_correlations() {
    let need = OtCount { client_receives: Ots { bits: 1, ..Ots::default() }, ..OtCount::default() };
    let [_, server] = both(4, |party, correlations, channel| {
        if party == Party::Client {
            let bytes = SoftSpoken::default().extension_bytes(need.client_receives.tiles()) as usize;
            channel.send(Kind::OtExtension, vec![0x55; bytes]).unwrap();
            return [true, true];
        }
        let refused = |result: Result<Pads, Error>| matches!(result, Err(Error::PeerMisbehaved(_)));
        [refused(correlations.draw(channel, &need)), refused(correlations.draw(channel, &OtCount::default()))]
    });
    assert_eq!(server, [true, true]);
}

#[test]
fn a_lost_connection_is_not_the_peers_misbehaviour() {
    let need = OtCount { client_receives: Ots { bits: 1, ..Ots::default() }, ..OtCount::default() };
    let [_, server] = both(4, |party, correlations, channel| {
        if party == Party::Client {
            *channel = pair().0;
            return [true, true];
        }
        [0, 1].map(|_| matches!(correlations.draw(channel, &need), Err(Error::Io(_))))
    });
    assert_eq!(server, [true, true]);
}

#[test]
fn different_sessions_do_not_understand_each_other() {
    let (mut left, mut right) = pair();
    let params = OtSource::default();
    let results = std::thread::scope(|scope| {
        let server = scope.spawn(move || Correlations::establish(Party::Server, &mut right, &[4; 32], params).is_err());
        [Correlations::establish(Party::Client, &mut left, &ID, params).is_err(), server.join().unwrap()]
    });
    assert_eq!(results, [true, true]);
}

/// A channel of which `sent` digests what its party sends, on this channel or another.
fn digested(inner: LocalChannel, sent: &Arc<Mutex<Sha256>>) -> impl Channel + use<> {
    let sent = Arc::clone(sent);
    watched(inner, move |kind, message| {
        let Message::Sending(payload) = message else { return };
        let mut sent = sent.lock().unwrap();
        sent.update((kind as u16).to_le_bytes());
        sent.update((payload.len() as u64).to_le_bytes());
        sent.update(payload);
    })
}

/// Digests of all messages of the client and of the server in `run`, those of the generator
/// included, as hexadecimal digits. Correlations are made with seeded randomness.
pub(crate) fn wire(supply: OtSource, run: impl Fn(Party, &mut dyn Channel, &mut Generator) + Sync) -> [String; 2] {
    cpu::from_environment().unwrap();
    let (online, offline) = (pair(), pair());
    let side = |party, online, offline| {
        let sent = Arc::new(Mutex::new(Sha256::new()));
        let [mut online, mut offline] = [online, offline].map(|inner| digested(inner, &sent));
        let mut rng = ChaCha20Rng::seed_from_u64(party as u64);
        let correlations = Correlations::establish_with(party, &mut offline, &ID, supply, &mut rng).unwrap();
        run(party, &mut online, &mut Generator::on_demand(correlations, Box::new(offline)));
        let digest = sent.lock().unwrap().clone().finalize();
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| side(Party::Server, online.1, offline.1));
        [side(Party::Client, online.0, offline.0), server.join().unwrap()]
    })
}

#[test]
fn the_wire_is_as_it_was() {
    let supply = OtSource::default();
    let ots = Ots { bits: 1000, pairs: 200, words: 70, tables: [150, 20, 10] };
    let need = OtCount { client_receives: ots, server_receives: ots };
    let found = [
        wire(supply, |_, _, _| ()),
        wire(supply, |_, _, generator| drop(generator.draw(&need).unwrap())),
        wire(OtSource::Silent(Ferret::B11), |_, _, generator| drop(generator.draw(&need).unwrap())),
    ];
    // Of the set-up, with an extension, and with a round of silent OT.
    let known = [
        ["84de8e550f3a51ca", "fdbc5002fa80e2a8"],
        ["370c19f2f8e4cbfc", "58ae559c2912ffcf"],
        ["ca9c1bcf4a926c94", "4cdd87c7cea23720"],
    ];
    assert_eq!(found, known);
}

/// Messages and pads of both parties with seeded randomness, the client in a pool of so many
/// threads and the server in another.
fn in_pools(threads: [usize; 2], supply: OtSource, needs: &[OtCount]) -> Vec<String> {
    let (left, right) = pair();
    let side = |party: Party, inner: LocalChannel| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads[party as usize]).build().unwrap();
        pool.install(|| {
            let sent = Arc::new(Mutex::new(Sha256::new()));
            let mut channel = digested(inner, &sent);
            let mut rng = ChaCha20Rng::seed_from_u64(party as u64);
            let made = Correlations::establish_with(party, &mut channel, &ID, supply, &mut rng);
            let mut correlations = made.unwrap();
            let draw = |need: &OtCount| {
                let mut pads = correlations.draw(&mut channel, need).unwrap();
                let (sent, received) = (need.received_by(party.peer()), need.received_by(party));
                let (sending, receiving) = (&mut pads.sending, &mut pads.receiving);
                let simple = (sending.bits(sent.bits as usize), sending.pairs(sent.pairs as usize));
                let others = (receiving.bits(received.bits as usize), receiving.pairs(received.pairs as usize));
                let words = (sending.words(sent.words as usize), receiving.words(received.words as usize));
                let tables: Vec<_> = sent.tables().map(|(width, n)| sending.tables(width, n as usize)).collect();
                let looked_up: Vec<_> =
                    received.tables().map(|(width, n)| receiving.tables(width, n as usize)).collect();
                assert!(sending.is_empty() && receiving.is_empty());
                format!("{simple:?} {others:?} {words:?} {tables:?} {looked_up:?}")
            };
            let drawn = needs.iter().map(draw).collect::<Vec<_>>().concat();
            Sha256::digest(drawn).iter().chain(&sent.lock().unwrap().clone().finalize()).map(u8::to_string).collect()
        })
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| side(Party::Server, right));
        vec![side(Party::Client, left), server.join().unwrap()]
    })
}

#[test]
fn any_number_of_threads_makes_the_same_messages_and_pads() {
    let ots = |bits, tables| Ots { bits, pairs: 9_000, words: 5_000, tables };
    let needs = [
        OtCount { client_receives: ots(30_000, [9_000, 20_000, 7]), server_receives: ots(129, [0, 1, 40_000]) },
        OtCount { client_receives: Ots::default(), server_receives: ots(0, [70_000, 0, 3]) },
    ];
    for supply in [OtSource::default(), OtSource::Silent(Ferret::B11)] {
        let alone = in_pools([1, 1], supply, &needs);
        for threads in [[2, 1], [3, 5]] {
            assert!(in_pools(threads, supply, &needs) == alone, "{threads:?} threads, {supply}");
        }
    }
}

/// All wires as they were, in a process for each form of the kernels: two parties may use different
/// ones.
#[test]
fn the_wire_is_the_same_in_all_forms() {
    for form in cpu::Form::available() {
        let mut wires = Command::new(std::env::current_exe().unwrap());
        let wires = wires.arg("the_wire_is_as_it_was").env(cpu::VARIABLE, form.name()).output().unwrap();
        let said = String::from_utf8_lossy(&wires.stdout);
        assert!(wires.status.success() && said.contains("4 passed"), "{form:?}: {said}");
    }
}

#[test]
fn tiles_are_hashed_with_their_running_number_in_both_directions() {
    let ots = Ots { words: 130, ..Ots::default() };
    let domain = Domain { session_id: &ID, receiver: Party::Client };
    let hash = RowHash::new(domain);
    let ((mut receiver, mut sender), mut again) = (softspoken::tests::deal(4, 6), softspoken::tests::deal(4, 6));
    let delta = sender.delta();
    // Every extension of two tiles uses up a third one.
    for first in [0, 3] {
        let mut receiving = Builder::new(Receiving { hash: &hash }, &ots);
        let k = SoftSpoken::default();
        let message = extend_receiver(&mut receiver, k, 2, |tiles| receiving.push(tiles));
        let mut sending = Builder::new(Sending { hash: &hash, delta: &delta }, &ots);
        extend_sender(&mut sender, k, 2, &message, |tiles| sending.push(tiles)).unwrap();
        let (mut receiving, mut sending) = (receiving.finish(), sending.finish());
        let mut ignored = message.clone();
        let [batch] = &mut again.0.extend(&[2], &mut ignored)[..] else { panic!("a batch") };
        let [theirs] = &mut again.1.extend(&[2], &message).unwrap()[..] else { panic!("a batch") };
        let hashes = |columns: &[u128], tile: u64, offset| {
            let mut rows: [u128; COLUMNS] = columns.try_into().unwrap();
            transpose(&mut rows);
            hash.hash_tile(tile, &rows, offset)[..2].to_vec()
        };
        let words = receiving.words(130).1;
        let [zeros, ones] = sending.words(130);
        for (place, range) in [(0, 0..128), (128, 128..256)] {
            let tile = first + place as u64 / 128;
            assert_eq!(words[place..place + 2], hashes(&batch.columns[range.clone()], tile, 0));
            assert_eq!(zeros[place..place + 2], hashes(&theirs.columns[range.clone()], tile, 0));
            assert_eq!(ones[place..place + 2], hashes(&theirs.columns[range], tile, delta));
        }
    }
}
