//! Linear layers: convolutions and fully connected layers with the server's weights on shared
//! operands.
//!
//! Cheetah's protocol (Huang et al., USENIX Security 2022, figure 3) with circuit privacy, on a
//! micro-batch of positions, each under its own key:
//!
//! 1. The client sends every position's share, packed and encrypted
//!    ([`Kind::LinearUpload`](crate::Kind)).
//! 2. The server adds its shares to the ciphertexts, multiplies by the kernel polynomials, which
//!    are the same for all positions, and sends the sums, packed into few ciphertexts if the
//!    packing says so, each plus a uniform mask, hidden as [`crate::rlwe`] describes
//!    ([`Kind::LinearDownload`](crate::Kind)).
//! 3. The client's result share is what it decrypts; the server's is the bias minus the mask.
//!
//! The server learns nothing, the client nothing but its share. Shares are position-major. The two
//! messages are those of [`fusion_catalogue::cheetah::cost`].

mod client;
mod interleave;
mod layer;
mod server;

pub use client::{client, client_asks, client_reads};
pub(super) use client::{downloads, upload};
pub(super) use server::Sparse;
pub use server::{Workspace, server, workspace_bytes};

use fusion_catalogue::cheetah::Packing;
use fusion_catalogue::rlwe::DEGREE;

/// What operand polynomial `index` holds of one position's share.
fn plaintext(packing: &Packing, index: usize, share: &[u64]) -> [u64; DEGREE] {
    let mut plaintext = [0; DEGREE];
    for run in packing.operand(index) {
        let elements = share[run.element..].iter().step_by(run.step);
        let coefficients = plaintext[run.coefficient..].iter_mut().step_by(run.stride).take(run.len);
        coefficients.zip(elements).for_each(|(coefficient, element)| *coefficient = *element);
    }
    plaintext
}
