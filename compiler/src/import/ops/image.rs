//! What convolutions of images and of volumes share.

use super::super::call::{Call, Made};
use crate::nn::NodeId;

/// How many groups of channels a convolution has.
pub(super) fn group_count(call: &Call, c_in: usize, c_out: usize) -> Result<usize, String> {
    let groups = usize::try_from(call.int("group", 1)).unwrap_or(0);
    if groups == 0 || !c_in.is_multiple_of(groups) || !c_out.is_multiple_of(groups) {
        return Err(format!("{groups} groups of {c_in} and {c_out} channels"));
    }
    Ok(groups)
}

/// `f` on each image of a batch.
pub(super) fn per_image(
    call: &mut Call,
    x: NodeId,
    image: &[usize],
    result: &[usize],
    f: impl Fn(&mut Call, NodeId) -> Made,
) -> Made {
    let n = result[0];
    let x = call.b.reshape(x, &[&[n], image].concat());
    let one = [&[1], &result[1..]].concat();
    let mut parts = Vec::new();
    for i in 0..n {
        let start = [&[i], vec![0; image.len()].as_slice()].concat();
        let part = call.b.slice(x, &start, &[&[1], image].concat());
        let part = call.b.reshape(part, image);
        let y = f(call, part)?;
        parts.push(call.b.reshape(y, &one));
    }
    Ok(call.b.concat(&parts, 0))
}
