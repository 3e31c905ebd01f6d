//! A message as either party's hello.
#![no_main]

#[path = "../../tests/src/garbage.rs"]
#[allow(dead_code, reason = "for its plan")]
mod garbage;
#[path = "../../tests/src/garbage_wire.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod garbage_wire;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    garbage_wire::handshake(bytes);
});
