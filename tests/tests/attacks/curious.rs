//! A curious client: what comes back from a linear layer must not depend on the weights beyond the
//! result.

use fusion_backends::cheetah::linear;
use fusion_backends::rlwe::{ClientKey, PublicKey};
use fusion_backends::{Channel, Kind, channel};
use fusion_catalogue::Steps;
use fusion_catalogue::cheetah::Packing;

use crate::malice::{Case, on_every_case};

on_every_case! {
    a_client_cannot_test_a_guess_of_the_weights,
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
    let differing = answered.iter().zip(&guessed).filter(|(left, right)| left != right).count();
    // Independent bytes are equal once in 256.
    assert!(differing * 100 > answered.len() * 99, "{differing} of {} bytes differ", answered.len());
}
