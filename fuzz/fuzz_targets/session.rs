//! One overwritten message of a session, to either party.
#![no_main]

#[path = "../../tests/src/garbage_session.rs"]
mod garbage_session;
#[path = "../../backends/engine/tests/common/parties.rs"]
mod parties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = garbage_session::session(bytes);
});
