//! A small plan and in-process connections for this crate's unit tests.

#[path = "../tests/common/mod.rs"]
mod common;

pub(crate) use common::tiny_plan;

use fusion_backends::Channel;

use crate::transport::{Connection, Lane, Link};

/// The two ends of a connection over in-process pipes.
pub(crate) fn connections() -> (Connection, Connection) {
    let ((from_right, to_left), (from_left, to_right)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let connect = |reader, writer| Connection::new(reader, writer, std::time::Duration::MAX).unwrap();
    (connect(from_right, to_right), connect(from_left, to_left))
}

/// The control lanes of [`connections`].
pub(crate) fn channels() -> (Box<dyn Channel>, Box<dyn Channel>) {
    let (mut left, mut right) = connections();
    (left.open(Lane::CONTROL, 1 << 10).unwrap(), right.open(Lane::CONTROL, 1 << 10).unwrap())
}
