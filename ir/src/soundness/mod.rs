//! What a verified batch proves: the arithmetic of Fusion's guarantees (Dong et al., NDSS 2023,
//! section V, with tolerated public errors, and with tampering that is wrong only sometimes).
//!
//! A client with `R` queries runs `N = R B + T + K` positions under a secret uniform permutation:
//! `B` copies of each query, `T` public samples whose labels it knows, and `K` known-answer probes,
//! which are queries of earlier accepted batches with the complete answers accepted then. It
//! accepts iff all copies of each query agree, at most `u` public answers are wrong, and no probe's
//! differs. Nothing here depends on the model but its accuracy, nor on the samples.
//!
//! - **Position consistency.** A position is *hit* if its answer is never the honest model's. How
//!   likely a server that hits fixed positions has another label than the model's accepted is
//!   bounded by [`Batch::hit_probability`] for each number of hits and by [`Batch::lambda_bits`]
//!   for all of them, also beside a better model; the modules say how.
//! - **Blind servers**, whose answers do not depend on the input, pass with
//!   [`Batch::blind_probability`], and one label forced at fixed positions with
//!   [`Batch::forced_bits`].
//! - **Accuracy.** A server that is wrong on a fraction `eps` of the distribution passes with
//!   `P[Bin(T,eps) <= u]` ([`Batch::pass_probability`], [`Batch::smallest_eps`]); an honest server
//!   of accuracy `a` is rejected with `P[Bin(T,1-a) > u]` ([`Batch::false_reject`]). The public
//!   samples must be independent draws from the queries' distribution that the server cannot
//!   recognise. Probes are not counted here: that the server answers as it did before says nothing
//!   of how often it is right.
//! - **Both at once.** Hitting `d` positions with tampering that is wrong on a fraction `eps` of
//!   the samples succeeds with [`Batch::mix_probability`], which no `lambda` bounds: against it the
//!   promise is an error rate.
//!
//! [`Policy`] turns what a client demands into the cheapest batch, [`Forecast`] says what a batch
//! is worth.
//!
//! Every probability is rounded up and every number of bits down, by a margin that covers the
//! floating-point error.

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
