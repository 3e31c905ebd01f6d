//! The fuzz targets on mutations of good input, a few thousand each: see `fuzz/` for as many as one
//! likes.

use std::path::Path;
use std::time::Duration;

use fusion_ir::text;
use fusion_runtime::transport::Lane;
use fusion_tests::{garbage, garbage_onnx, garbage_session, garbage_wire, root};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Every filetest's text.
fn good() -> Vec<String> {
    fn collect(folder: &Path, texts: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => collect(&entry, texts),
                false => texts.push(std::fs::read_to_string(entry).unwrap()),
            }
        }
    }
    let mut texts = Vec::new();
    collect(&root().join("tests/filetests"), &mut texts);
    assert!(texts.len() > 10);
    texts
}

/// One to four times: a byte changed, bytes removed or doubled, or a word that means something put
/// in.
fn mutate(bytes: &[u8], words: &[&[u8]], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut below = |n: usize| (rng.next_u64() % n.max(1) as u64) as usize;
    for _ in 0..1 + below(4) {
        let at = below(bytes.len());
        let end = (at + below(9)).min(bytes.len());
        match below(5) {
            0 if !bytes.is_empty() => bytes[at] = below(256) as u8,
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copied = bytes[at..end].to_vec();
                bytes.splice(at..at, copied);
            }
            3 => drop(bytes.splice(at..end, words[below(words.len())].iter().copied())),
            _ if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
            _ => {}
        }
    }
    bytes
}

#[test]
fn texts() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let words =
        ["v0", "@w0", "[", "]", "-1", "0", "9223372036854775807", "topk", "mul", "+", ":", "\"", "i63.0~62", "\u{e9}"];
    let words = words.map(str::as_bytes);
    for good in good() {
        garbage::text(good.as_bytes());
        for _ in 0..300 {
            garbage::text(&mutate(good.as_bytes(), &words, &mut rng));
        }
    }
}

#[test]
fn plans() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let words: [&[u8]; 4] = [&[0xff; 9], &[0x80, 0x80, 0x80, 0x80, 0x01], &[0], &[0xff, 0xff, 0xff, 0xff, 0x0f]];
    for good in good() {
        let Ok(function) = text::parse(&good) else { continue };
        let payload = garbage::public_section(function);
        garbage::plan(&payload);
        for _ in 0..300 {
            garbage::plan(&mutate(&payload, &words, &mut rng));
        }
    }
}

#[test]
fn models() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let words: [&[u8]; 6] = [&[0xff; 9], &[0], b"Conv", b"Gemm", b"N", b"strides"];
    let good = std::fs::read(root().join("models/digits/digits.onnx")).unwrap();
    garbage_onnx::onnx(&good);
    // Most bytes are weights, so mutations of the first and the last ones say most.
    let (head, tail) = (&good[..2000], &good[good.len() - 300..]);
    for turn in 0..300 {
        let (head, tail) = match turn % 2 {
            0 => (mutate(head, &words, &mut rng), tail.to_vec()),
            _ => (head.to_vec(), mutate(tail, &words, &mut rng)),
        };
        garbage_onnx::onnx(&[&head, &good[2000..good.len() - 300], &tail].concat());
        garbage_onnx::onnx(&head);
    }
}

#[test]
fn frames() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let good = garbage_wire::good_frames();
    assert_eq!(garbage_wire::frames_within(&good, Duration::from_secs(60)), Lane::COUNT);
    for _ in 0..2000 {
        garbage_wire::frames(&mutate(&good, &[&[0xff; 4], &[0], &[1], &[9, 0, 0, 0]], &mut rng));
    }
}

#[test]
fn hellos() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    for good in garbage_wire::good_hellos() {
        for _ in 0..2000 {
            garbage_wire::handshake(&mutate(&good, &[&[0xff; 8], &[0], &[1], &[2]], &mut rng));
        }
    }
}

#[test]
fn messages() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    for to in 0..4u8 {
        let mut number = 0u16;
        loop {
            let [low, high] = number.to_le_bytes();
            let random = rng.next_u64().to_le_bytes();
            let reached = [&[0][..], &[0xff], &random]
                .map(|garbage| garbage_session::session(&[&[low, high, to], garbage].concat()));
            if reached.contains(&false) {
                break;
            }
            number += 1;
        }
        assert!(number > 30, "only {number} messages");
    }
}
