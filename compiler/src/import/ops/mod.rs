//! The operators, by kind: what each is in the float network, or why it is not.

pub(super) mod activation;
pub(super) mod arithmetic;
pub(super) mod einsum;
mod image;
pub(super) mod integers;
pub(super) mod linear;
pub(super) mod normalise;
pub(super) mod places;
pub(super) mod pool;
pub(super) mod quantise;
pub(super) mod recurrent;
pub(super) mod reduce;
pub(super) mod resize;
pub(super) mod shape;
pub(super) mod types;
pub(super) mod volume;
pub(super) mod window;
