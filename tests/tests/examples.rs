//! The examples do what they say: each asserts it.

#![allow(clippy::duplicate_mod, reason = "each example is whole by itself")]

#[path = "../../examples/in_process.rs"]
mod in_process;
#[path = "../../examples/own_report.rs"]
mod own_report;
#[cfg(unix)]
#[path = "../../examples/own_transport.rs"]
mod own_transport;
#[path = "../../examples/two_parties.rs"]
mod two_parties;

#[test]
fn both_parties_in_one_process() {
    in_process::main().unwrap();
}

#[test]
fn two_parties_over_tcp() {
    two_parties::main().unwrap();
}

#[cfg(unix)]
#[test]
fn a_transport_of_ones_own() {
    own_transport::main().unwrap();
}

#[test]
fn a_report_of_ones_own() {
    own_report::main().unwrap();
}
