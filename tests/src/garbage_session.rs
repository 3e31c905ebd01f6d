//! Bytes from an adversary in the middle of a session. A target of `fuzz/`, and of the test that
//! runs it on every message.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use fusion_backends::Error;
use fusion_backends::tap::{Message, watched};
use fusion_catalogue::Keys;
use fusion_catalogue::ot::OtSource;
use fusion_ir::{Party, Weights, text};

use crate::parties::{Program, Supply, seats};

/// A program with every kind of message.
const PROGRAM: &str = r#"function "messages"
weight @w0 "w" : i4.0[2,1,2,2]
weight @w1 "d" : i4.0[4,2]
v0 = input : i20.0~9[1,3,3] by local "x"
v1 = conv v0, @w0 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : i20.0~16[2,2,2] by cheetah "c"
v2 = requant_relu v1 shift=4 : i16.-4~12+[2,2,2] by cheetah "r"
v3 = max_pool v2 kernel=[2,2] strides=[2,2] pads=[0,0,0,0] : i16.-4~12+[2,1,1] by cheetah(leaf=1) "m"
v4 = reshape v3 : i16.-4~12+[2] by local "f"
v5 = mul v4, v4 : i16.-8~12[2] by cheetah "q"
v6 = extend v5 : i20.-8~12[2] by cheetah "e"
v7 = dense v6, @w1 : i20.-8~16[4] by cheetah "d"
v8 = topk v7 k=2 : i3.0~2+[2] by cheetah(leaf=2) "t"
v9 = fusion.reveal v8 what=topk:2 : i3.0~2+[2] by cheetah "t"
"#;

/// A session in which one message to one party is overwritten: it is refused as misbehaviour, or
/// changes values only. The first two bytes say which message, the third to whom (bit 0) and
/// whether linear layers are computed ahead (bit 1), the others what it is overwritten with, again
/// and again.
///
/// Returns whether there was such a message.
pub fn session(bytes: &[u8]) -> bool {
    let [low, high, to, garbage @ ..] = bytes else { return false };
    let keys = if to & 2 == 0 { Keys::Position } else { Keys::Ahead };
    let to = if to & 1 == 0 { Party::Client } else { Party::Server };
    let function = text::parse(PROGRAM).expect("the program is well-formed");
    let weights = Weights(vec![vec![1; 8], vec![2; 8]]);
    // Messages to that party before the one that is overwritten; negative once it has come.
    let left = Arc::new(AtomicI32::new(i32::from(u16::from_le_bytes([*low, *high]))));
    let seats = seats(Supply::Made(OtSource::default())).map(|seat| {
        let party = seat.party;
        seat.over(|_, inner| {
            let (left, garbage) = (left.clone(), garbage.to_vec());
            Box::new(watched(inner, move |_, message| {
                let Message::Received(payload) = message else { return };
                if party == to && left.fetch_sub(1, Ordering::Relaxed) == 0 {
                    payload.iter_mut().zip(garbage.iter().cycle()).for_each(|(byte, garbage)| *byte = *garbage);
                }
            }))
        })
    });
    let inputs = vec![-5; function.values[0].ty.len()];
    let program = Program { keys, ..Program::new(&function, &weights, &inputs) };
    for (party, result) in [Party::Client, Party::Server].into_iter().zip(program.run(seats)) {
        match result {
            // The other party is hung up on.
            Ok(_) | Err(Error::Io(_)) => {}
            Err(Error::PeerMisbehaved(why)) => assert!(!why.is_empty()),
            Err(error) => panic!("{party:?} says {error}"),
        }
    }
    left.load(Ordering::Relaxed) < 0
}
