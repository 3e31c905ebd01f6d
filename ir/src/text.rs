//! The text form: [`Function`](crate::Function)'s `Display`, and the parser that reads it back.
//!
//! One line per weight and value; `;` starts a comment. A type is `i16.8~13+[3,32,32]`: width,
//! fractional bits, calibrated magnitude, `+` if proven non-negative, shape.
//!
//! ```text
//! function "tiny"
//! weight @w0 "fc.weight" : i12.9[10,64]
//! v0 = input : i24.8~9[64] "pixels"
//! v1 = dense v0, @w0 : i24.17~22[10] by cheetah "fc"
//! ```

mod cursor;
mod ops;
mod parse;
mod print;

pub use parse::{ParseError, parse};
pub use print::{print_with_weights, quote};

#[cfg(test)]
mod tests;
