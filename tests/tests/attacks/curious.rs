//! A curious client: what comes back from a linear layer, or from a product of secret matrices,
//! must not depend on the weights, or on the server's share, beyond the result.

use std::ops::Range;

use fusion_backends::cheetah::{linear, product};
use fusion_backends::rlwe::{ClientKey, PublicKey};
use fusion_backends::{Channel, Kind, channel};
use fusion_catalogue::Steps;
use fusion_catalogue::cheetah::{Packing, Product};

use crate::malice::{Case, on_attention, on_every_case};

on_every_case! {
    a_client_cannot_test_a_guess_of_the_weights,
}

on_attention! {
    a_client_cannot_test_a_guess_of_the_weights,
    a_client_cannot_test_a_guess_of_a_share_of_a_factor,
}

/// The first linear layer of the case, and its weights.
fn layer(case: &'static Case) -> (Packing, &'static [i64]) {
    let Case { plan, .. } = case;
    let (id, value) = plan.function.iter().find(|(_, value)| value.op.weights().next().is_some()).unwrap();
    let weight = plan.weights.as_ref().unwrap().get(value.op.weights().next().unwrap());
    (Steps::of(&plan.function).unwrap().get(id).packing().unwrap().clone(), weight)
}

/// An upload of one position under `key`.
fn upload(packing: &Packing, key: ClientKey) -> Vec<u8> {
    let (mut client, mut server) = channel::pair();
    std::thread::scope(move |scope| {
        scope.spawn(move || {
            let share = vec![5; packing.geometry().input_len()];
            linear::client(&mut client, packing, &mut [key], &share).expect_err("nobody answers")
        });
        let upload = server.receive(Kind::LinearUpload, packing.upload_bytes()).unwrap();
        // Hangs up, or the client would wait for an answer.
        drop(server);
        upload
    })
}

/// What a server with these weights answers to an upload: the `a` components of its results.
fn answer(packing: &Packing, public: &[u8], upload: &[u8], weight: &[i64]) -> Vec<u8> {
    let (mut client, mut server) = channel::pair();
    client.send(Kind::LinearUpload, upload.to_vec()).unwrap();
    let share = vec![0; packing.geometry().input_len()];
    let keys = [PublicKey::decode(public).unwrap()];
    linear::server(&mut server, packing, &keys, &mut linear::Workspace::default(), &share, weight, None).unwrap();
    let download = client.receive(Kind::LinearDownload, packing.download_bytes()).unwrap();
    download[..packing.a_bytes()].to_vec()
}

fn a_client_cannot_test_a_guess_of_the_weights(case: &'static Case) {
    let (packing, weight) = layer(case);
    let key = ClientKey::generate().unwrap();
    let public = key.public().to_vec();
    let upload = upload(&packing, key);
    let answered = answer(&packing, &public, &upload, weight);
    // The client knows everything else that goes into `a`: with the right guess it could make the
    // same.
    let guessed = answer(&packing, &public, &upload, weight);
    assert_apart(&answered, &guessed, 0..answered.len());
}

/// These bytes of both are independent: equal once in 256.
fn assert_apart(answered: &[u8], guessed: &[u8], bytes: Range<usize>) {
    let len = bytes.len();
    let pairs = answered[bytes.clone()].iter().zip(&guessed[bytes]);
    let differing = pairs.filter(|(left, right)| left != right).count();
    assert!(differing * 100 > len * 98, "{differing} of {len} bytes differ");
}

/// What a server with these shares of both factors answers to an upload.
fn product_of(product: &Product, public: &[u8], upload: &[u8], shares: &[Vec<u64>; 2]) -> Vec<u8> {
    let (mut client, mut server) = channel::pair();
    client.send(Kind::LinearUpload, upload.to_vec()).unwrap();
    let (keys, shares) = ([PublicKey::decode(public).unwrap()], shares.each_ref().map(Vec::as_slice));
    product::server(&mut server, product, &keys, &mut linear::Workspace::default(), shares).unwrap();
    client.receive(Kind::LinearDownload, product.download_bytes()).unwrap()
}

/// The client knows all that goes into the `a` of a result but the server's share of the other
/// factor: with a right guess of that it could make the same. Masks and floods of `b` are fresh.
fn a_client_cannot_test_a_guess_of_a_share_of_a_factor(case: &'static Case) {
    for product in case.products() {
        let shares = product.matrices().operand_lens().map(|len| vec![7; len]);
        let key = ClientKey::generate().unwrap();
        let public = key.public().to_vec();
        let (mut client, mut server) = channel::pair();
        let upload = std::thread::scope(|scope| {
            let (product, own) = (&product, shares.each_ref().map(Vec::as_slice));
            scope.spawn(move || product::client(&mut client, product, &mut [key], own).expect_err("nobody answers"));
            let upload = server.receive(Kind::LinearUpload, product.upload_bytes()).unwrap();
            drop(server);
            upload
        });
        let (answered, guessed) =
            (product_of(&product, &public, &upload, &shares), product_of(&product, &public, &upload, &shares));
        let mut start = 0;
        for term in product.terms() {
            let (a, end) = (start + term.packing.a_bytes(), start + term.packing.download_bytes());
            assert_apart(&answered, &guessed, start..a);
            assert_apart(&answered, &guessed, a..end);
            start = end;
        }
    }
}
