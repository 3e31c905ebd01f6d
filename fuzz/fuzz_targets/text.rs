//! The text form of the IR.
#![no_main]

#[path = "../../tests/src/garbage.rs"]
#[allow(dead_code, reason = "each target uses one")]
mod garbage;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    garbage::text(bytes);
});
