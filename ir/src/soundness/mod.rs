//! What a verified batch proves: the arithmetic of Fusion's guarantees (Dong et al., NDSS 2023, section V, with tolerated
//! public errors, and with tampering that is wrong only sometimes).
//!
//! A client with `R` queries runs `N = R B + T + K` positions under a secret uniform permutation: `B` copies of each
//! query, `T` public samples whose labels it knows, and `K` known-answer probes, which are queries of earlier accepted
//! batches with the labels accepted then. It accepts iff all copies of each query agree, at most `u` public answers are
//! wrong, and no probe's. Nothing here depends on the model or on the samples.
//!
//! - **Position consistency.** A position is *hit* if its label is wrong whatever sample sits there. A server that hits
//!   `d` fixed positions has a wrong label accepted with probability at most
//!   `p(d) = sum of C(R,c) C(T,j) / C(N,d)` over `c >= 1`, `0 <= j <= min(u,T)`, `c B + j = d`: no hit on a probe
//!   ([`Batch::hit_probability`]); the batch reaches `lambda` bits if `p(d) <= 2^-lambda` for all `d`
//!   ([`Batch::worst_hit`], [`Batch::lambda_bits`]).
//! - **Accuracy.** A server that is wrong on a fraction `eps` of the distribution passes with `P[Bin(T,eps) <= u]`
//!   ([`Batch::pass_probability`], [`Batch::smallest_eps`]); an honest server of accuracy `a` is rejected with
//!   `P[Bin(T,1-a) > u]` ([`Batch::false_reject`]). The public samples must be independent draws from the queries'
//!   distribution that the server cannot recognise. Probes are not counted here: that the server answers as it did before
//!   says nothing of how often it is right.
//! - **Both at once.** Hitting `d` positions with tampering that is wrong on a fraction `eps` of the samples succeeds
//!   with [`Batch::mix_probability`], which no `lambda` bounds: against it the promise is an error rate.
//!
//! [`Policy`] turns what a client demands into the cheapest batch, [`Forecast`] says what a batch is worth.
//!
//! Every probability is rounded up and every number of bits down, by a margin that covers the floating-point error.

mod batch;
mod consistency;
mod forecast;
mod mix;
mod policy;
mod share;
mod tails;

pub use batch::{Batch, MAX_POSITIONS};
pub use forecast::Forecast;
pub use policy::{CONFIDENCE, Demand, Infeasible, MAX_COPIES, MAX_PUBLIC, Policy};
pub use share::largest_share;
