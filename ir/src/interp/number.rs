//! What sums of products are formed in.

use std::num::Wrapping;
use std::ops::{Add, Mul};

/// A number that sums are formed in.
pub(super) trait Number: Copy + Default + Send + Sync + Add<Output = Self> + Mul<Output = Self> {
    fn of(element: i64) -> Self;
    fn integer(self) -> i64;
}

impl Number for f64 {
    fn of(element: i64) -> f64 {
        element as f64
    }

    fn integer(self) -> i64 {
        self as i64
    }
}

impl Number for Wrapping<i64> {
    fn of(element: i64) -> Self {
        Wrapping(element)
    }

    fn integer(self) -> i64 {
        self.0
    }
}
