//! The client's part of a linear layer.

use fusion_catalogue::cheetah::{Packing, Run};
use fusion_catalogue::packed_bytes;
use fusion_catalogue::rlwe::{DEGREE, POLYNOMIAL_BYTES, SEED_BYTES};
use rayon::prelude::*;

use super::plaintext;
use crate::bits::unpack;
use crate::rlwe::{ClientKey, Scale};
use crate::{Channel, Error, Kind};

/// Runs one linear layer as the client on `keys.len()` positions: `share` of the operands in, share
/// of the results out.
///
/// # Errors
/// [`Error::PeerMisbehaved`] if the server's message is malformed, [`Error::Io`] if the connection
/// fails.
pub fn client(
    channel: &mut dyn Channel,
    packing: &Packing,
    keys: &mut [ClientKey],
    share: &[u64],
) -> Result<Vec<u64>, Error> {
    client_asks(channel, packing, keys, share)?;
    client_reads(channel, packing, keys)
}

/// The first half of [`client`]: the encrypted operands.
///
/// # Errors
/// [`Error::Io`] if the connection fails.
pub fn client_asks(
    channel: &mut dyn Channel,
    packing: &Packing,
    keys: &mut [ClientKey],
    share: &[u64],
) -> Result<(), Error> {
    channel.send(Kind::LinearUpload, upload(packing, &Scale::new(packing.acc_bits()), keys, share))
}

/// The second half: the share of the results.
///
/// # Errors
/// As [`client`].
pub fn client_reads(channel: &mut dyn Channel, packing: &Packing, keys: &[ClientKey]) -> Result<Vec<u64>, Error> {
    let scale = Scale::new(packing.acc_bits());
    let bytes = channel.receive(Kind::LinearDownload, keys.len() * packing.download_bytes())?;
    downloads(packing, &scale, keys, &bytes)
}

/// Every position's result share.
pub(in super::super) fn downloads(
    packing: &Packing,
    scale: &Scale,
    keys: &[ClientKey],
    bytes: &[u8],
) -> Result<Vec<u64>, Error> {
    let positions = bytes.par_chunks(packing.download_bytes()).zip(keys);
    let results: Result<Vec<Vec<u64>>, Error> =
        positions.map(|(bytes, key)| download(packing, scale, key, bytes)).collect();
    Ok(results?.concat())
}

/// Every position's seed and encrypted operand polynomials.
pub(in super::super) fn upload(packing: &Packing, scale: &Scale, keys: &mut [ClientKey], share: &[u64]) -> Vec<u8> {
    let elements = packing.geometry().input_len();
    assert_eq!(share.len(), keys.len() * elements);
    let uploads: Vec<_> = keys.iter_mut().map(ClientKey::next_upload).collect();
    let mut bytes = vec![0; keys.len() * packing.upload_bytes()];
    let positions = uploads.par_iter().zip(&*keys).zip(share.par_chunks(elements));
    positions.zip(bytes.par_chunks_mut(packing.upload_bytes())).for_each(|(((seeds, key), share), bytes)| {
        let (seed, polynomials) = bytes.split_at_mut(SEED_BYTES);
        seed.copy_from_slice(&seeds.public);
        polynomials.par_chunks_mut(POLYNOMIAL_BYTES).enumerate().for_each(|(index, polynomial)| {
            key.encrypt(seeds, index as u64, scale, &plaintext(packing, index, share), polynomial);
        });
    });
    bytes
}

/// One position's result share.
fn download(packing: &Packing, scale: &Scale, key: &ClientKey, bytes: &[u8]) -> Result<Vec<u64>, Error> {
    let (a, b) = bytes.split_at(packing.a_bytes());
    let a = a.chunks(packed_bytes(DEGREE, packing.a_bits()) as usize);
    let mut rest = b;
    let mut results = Vec::with_capacity(packing.results());
    for (index, a) in a.enumerate() {
        let (b, behind) = rest.split_at(packing.b_bytes(index));
        rest = behind;
        results.push((index, a, b));
    }
    let pairs = |index| packing.result(index).flat_map(Run::pairs);
    let decrypted: Result<Vec<Vec<u64>>, Error> = results
        .par_iter()
        .map(|&(index, a, b)| {
            let a_times_secret = key.times_secret(&unpack(a, DEGREE, packing.a_bits())?, scale);
            let mut values = unpack(b, packing.result_len(index), packing.b_bits())?;
            let coefficients = pairs(index).map(|(_, coefficient)| coefficient);
            for (value, coefficient) in values.iter_mut().zip(coefficients) {
                *value = scale.decode(*value, a_times_secret[coefficient]);
            }
            Ok(values)
        })
        .collect();
    let mut share = vec![0; packing.geometry().output_len()];
    for (values, &(index, ..)) in decrypted?.into_iter().zip(&results) {
        let elements = pairs(index).map(|(element, _)| element);
        elements.zip(values).for_each(|(element, value)| share[element] = value);
    }
    Ok(share)
}
