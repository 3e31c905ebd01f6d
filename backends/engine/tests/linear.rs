//! Linear layers between two in-memory parties, against the integers.

use std::thread;

use chacha20::ChaCha20Rng;
use fusion_backends::channel::pair;
use fusion_backends::cheetah::linear::{Workspace, client, server};
use fusion_backends::rlwe::{ClientKey, PublicKey};
use fusion_backends::tap::{Log, Message, logged, watched};
use fusion_backends::{Channel, Error, Kind};
use fusion_catalogue::cheetah::{Packing, cost, interleaved};
use fusion_catalogue::linear::Geometry;
use fusion_ir::Party;
use fusion_ir::types::{mask, wrap};
use rand_core::{Rng, SeedableRng};

/// What the client sends and receives, and the last message that it receives.
#[derive(Default)]
struct View {
    messages: Log,
    received: Vec<u8>,
}

/// One layer's data on several positions.
struct Case {
    packing: Packing,
    positions: usize,
    client_share: Vec<u64>,
    server_share: Vec<u64>,
    weight: Vec<i64>,
    bias: Option<Vec<i64>>,
}

impl Case {
    /// Uniform shares and weights of `weight_bits`.
    fn random(geometry: &Geometry, acc_bits: u8, weight_bits: u8, positions: usize, rng: &mut ChaCha20Rng) -> Case {
        let packing = Packing::of(geometry, acc_bits).unwrap();
        let elements = positions * geometry.input_len();
        let mut share = || (0..elements).map(|_| rng.next_u64() & mask(acc_bits)).collect::<Vec<_>>();
        let (client_share, server_share) = (share(), share());
        let weight = (0..geometry.weight_len()).map(|_| rng.next_u64() as i64 >> (64 - weight_bits)).collect();
        let bias = (0..geometry.outputs).map(|_| rng.next_u64() as i64 >> (65 - acc_bits)).collect();
        Case { packing, positions, client_share, server_share, weight, bias: Some(bias) }
    }

    /// The same with output packing, if that pays and can be hidden.
    fn packed(mut self, weight_bits: u8) -> Option<Case> {
        self.packing = Packing::packed(self.packing.geometry(), self.packing.acc_bits()).unwrap();
        let hidden = self.packing.noise(weight_bits).is_ok();
        (self.packing.levels() > 0 && hidden).then_some(self)
    }

    /// Runs both parties; returns the client's share, the server's share, and the client's view.
    fn run(&self, keys: &mut [ClientKey]) -> (Vec<u64>, Vec<u64>, View) {
        let (left, mut right) = pair();
        let public: Vec<_> = keys.iter().map(|key| public_key(key, self.packing.levels())).collect();
        let mut view = View::default();
        let mut channel = watched(logged(left, Party::Client, &view.messages), |_, message| {
            if let Message::Received(payload) = message {
                view.received.clone_from(payload);
            }
        });
        let (client, server) = thread::scope(|scope| {
            // The channel's end moves along, so that the client ends if the server panics.
            let server = scope.spawn(move || {
                let (share, weight, bias) = (&self.server_share, &self.weight, self.bias.as_deref());
                server(&mut right, &self.packing, &public, &mut Workspace::default(), share, weight, bias).unwrap()
            });
            let client = client(&mut channel, &self.packing, keys, &self.client_share).unwrap();
            (client, server.join().unwrap())
        });
        drop(channel);
        (client, server, view)
    }

    /// The results mod `2^acc`, by definition.
    fn expected(&self) -> Vec<u64> {
        let shares = self.client_share.iter().zip(&self.server_share);
        let x: Vec<i64> = shares.map(|(a, b)| a.wrapping_add(*b) as i64).collect();
        let elements = self.packing.geometry().input_len();
        let results =
            x.chunks(elements).flat_map(|x| convolve(self.packing.geometry(), x, &self.weight, self.bias.as_deref()));
        results.map(|y| wrap(y, self.packing.acc_bits())).collect()
    }

    /// Asserts that the shares add up to the definition and the messages are those predicted.
    fn check(&self) {
        let mut keys = keys(self.positions);
        let (client, server, view) = self.run(&mut keys);
        let sum: Vec<u64> =
            client.iter().zip(&server).map(|(a, b)| a.wrapping_add(*b) & mask(self.packing.acc_bits())).collect();
        assert_eq!(sum, self.expected(), "{:?}", self.packing);
        assert_eq!(*view.messages.lock().unwrap(), cost(&self.packing, self.positions).messages);
    }
}

/// What the server has of a key.
fn public_key(key: &ClientKey, levels: u32) -> PublicKey {
    let mut public = PublicKey::decode(key.public()).unwrap();
    if levels > 0 {
        public.set_packing_keys(&key.packing_keys(levels), levels).unwrap();
    }
    public
}

fn keys(positions: usize) -> Vec<ClientKey> {
    (0..positions).map(|_| ClientKey::generate().unwrap()).collect()
}

/// The layer on one position, wrapping.
fn convolve(geometry: &Geometry, x: &[i64], weight: &[i64], bias: Option<&[i64]>) -> Vec<i64> {
    let [height, width] = geometry.output();
    let [channels, outputs] = geometry.group();
    let [_, rows, columns] = geometry.input;
    let [kernel_rows, kernel_columns] = geometry.kernel;
    let mut results = Vec::with_capacity(geometry.output_len());
    for m in 0..geometry.outputs {
        for i in 0..height {
            for j in 0..width {
                let mut sum = bias.map_or(0, |bias| bias[m]);
                for c in 0..channels {
                    for l in 0..kernel_rows {
                        let row = (i * geometry.strides[0] + l * geometry.dilations[0]).wrapping_sub(geometry.pads[0]);
                        for q in 0..kernel_columns {
                            let column =
                                (j * geometry.strides[1] + q * geometry.dilations[1]).wrapping_sub(geometry.pads[1]);
                            if row < rows && column < columns {
                                let w = weight[((m * channels + c) * kernel_rows + l) * kernel_columns + q];
                                let channel = m / outputs * channels + c;
                                let x = x[(channel * rows + row) * columns + column];
                                sum = sum.wrapping_add(w.wrapping_mul(x));
                            }
                        }
                    }
                }
                results.push(sum);
            }
        }
    }
    results
}

fn square(channels: usize, size: usize, outputs: usize, kernel: usize, stride: usize, pad: usize) -> Geometry {
    Geometry {
        input: [channels, size, size],
        outputs,
        kernel: [kernel; 2],
        strides: [stride; 2],
        pads: [pad; 4],
        dilations: [1; 2],
        groups: 1,
    }
}

/// Checks `count` random shapes, with random widths and batches. Returns how many of them had their
/// outputs packed, too.
fn check_random_shapes(count: usize, seed: u64) -> usize {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut within = |range: std::ops::RangeInclusive<usize>| {
        range.start() + (rng.next_u64() % (range.end() - range.start() + 1) as u64) as usize
    };
    let mut data = ChaCha20Rng::seed_from_u64(seed + 1);
    let (mut checked, mut packed) = (0, 0);
    while checked < count {
        let groups = [1, 1, 2, 3, 7][within(0..=4)];
        let geometry = Geometry {
            input: [groups * within(1..=5), within(1..=20), within(1..=20)],
            outputs: groups * within(1..=5),
            kernel: [within(1..=4), within(1..=4)],
            strides: [within(1..=3), within(1..=3)],
            pads: [0; 4].map(|_| within(0..=3)),
            dilations: [within(1..=3), within(1..=3)],
            groups,
        };
        if geometry.check().is_ok() {
            let (acc_bits, weight_bits) = (within(8..=34) as u8, within(2..=12) as u8);
            let case = Case::random(&geometry, acc_bits, weight_bits, within(1..=3), &mut data);
            case.check();
            checked += 1;
            if let Some(case) = case.packed(weight_bits) {
                case.check();
                packed += 1;
            }
        }
    }
    packed
}

#[test]
fn shares_add_up_over_random_shapes() {
    let packed = check_random_shapes(30, 1);
    assert!(packed >= 5, "{packed}");
}

#[test]
#[ignore = "takes minutes; a sample of it always runs"]
fn shares_add_up_over_a_thousand_random_shapes() {
    let packed = check_random_shapes(1000, 100);
    assert!(packed >= 200, "{packed}");
}

/// Every shape of a linear layer in ResNet-18 and -50, SqueezeNet 1.0 and 1.1 and MobileNetV2 at
/// 224x224.
fn network_shapes() -> Vec<Geometry> {
    let mut shapes = vec![square(3, 224, 64, 7, 2, 3), Geometry::dense(512, 1000), Geometry::dense(2048, 1000)];
    for (stage, width) in [64, 128, 256, 512].into_iter().enumerate() {
        let (size, first) = (56 >> stage, stage == 0);
        let (before, stride) = if first { (size, 1) } else { (2 * size, 2) };
        let (basic, bottleneck) = if first { (64, 64) } else { (width / 2, 2 * width) };
        // Basic blocks.
        shapes.extend([square(basic, before, width, 3, stride, 1), square(width, size, width, 3, 1, 1)]);
        if !first {
            shapes.push(square(basic, before, width, 1, stride, 0));
        }
        // Bottlenecks, with the stride in the middle.
        shapes.extend([
            square(bottleneck, before, width, 1, 1, 0),
            square(width, before, width, 3, stride, 1),
            square(bottleneck, before, 4 * width, 1, stride, 0),
            square(width, size, 4 * width, 1, 1, 0),
            square(4 * width, size, width, 1, 1, 0),
        ]);
    }
    // SqueezeNet: input channels, image, squeezed channels, expanded channels of each fire module.
    shapes.extend([square(3, 224, 96, 7, 2, 0), square(3, 224, 64, 3, 2, 0)]);
    let fires = [
        [96, 54, 16, 64],
        [128, 54, 16, 64],
        [128, 54, 32, 128],
        [256, 27, 32, 128],
        [256, 27, 48, 192],
        [384, 27, 48, 192],
        [384, 27, 64, 256],
        [512, 13, 64, 256],
        [64, 55, 16, 64],
        [128, 55, 16, 64],
        [128, 27, 32, 128],
        [256, 13, 48, 192],
        [384, 13, 48, 192],
        [384, 13, 64, 256],
    ];
    for [inputs, size, squeezed, expanded] in fires {
        shapes.push(square(inputs, size, squeezed, 1, 1, 0));
        shapes.push(square(squeezed, size, expanded, 1, 1, 0));
        shapes.push(square(squeezed, size, expanded, 3, 1, 1));
    }
    shapes.push(square(512, 13, 1000, 1, 1, 0));
    // MobileNetV2: expansion, result channels, repetitions, first stride of each stage.
    shapes.extend([square(3, 224, 32, 3, 2, 1), square(320, 7, 1280, 1, 1, 0), Geometry::dense(1280, 1000)]);
    let (mut channels, mut size) = (32, 112);
    for [expansion, outputs, repetitions, first_stride] in
        [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]]
    {
        for repetition in 0..repetitions {
            let (stride, hidden) = (if repetition == 0 { first_stride } else { 1 }, expansion * channels);
            if expansion > 1 {
                shapes.push(square(channels, size, hidden, 1, 1, 0));
            }
            shapes.push(Geometry { groups: hidden, ..square(hidden, size, hidden, 3, stride, 1) });
            size /= stride;
            shapes.push(square(hidden, size, outputs, 1, 1, 0));
            channels = outputs;
        }
    }
    shapes.sort();
    shapes.dedup();
    shapes
}

#[test]
#[ignore = "takes minutes; a sample of it always runs"]
fn shares_add_up_for_every_layer_of_networks() {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    for geometry in network_shapes() {
        let case = Case::random(&geometry, 32, 12, 1, &mut rng);
        case.check();
        case.packed(12).iter().for_each(Case::check);
    }
}

#[test]
fn shares_add_up_for_some_layers_of_networks() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    for geometry in network_shapes().into_iter().filter(|geometry| geometry.weight_len() < 1 << 11) {
        let case = Case::random(&geometry, 32, 12, 1, &mut rng);
        case.check();
        case.packed(12).iter().for_each(Case::check);
    }
}

#[test]
fn kinds_of_layers() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let depthwise = Geometry { groups: 12, ..square(12, 14, 12, 3, 1, 1) };
    for geometry in [
        square(16, 16, 16, 3, 1, 1),
        square(16, 32, 8, 3, 2, 1),
        square(16, 16, 32, 1, 2, 0),
        square(1, 28, 8, 5, 1, 2),
        // More than one tile.
        square(2, 80, 2, 3, 1, 1),
        depthwise,
        Geometry::dense(300, 40),
    ] {
        Case::random(&geometry, 28, 12, 2, &mut rng).check();
    }
}

#[test]
fn kinds_of_layers_with_packed_results() {
    let mut rng = ChaCha20Rng::seed_from_u64(10);
    for geometry in [
        square(16, 16, 16, 3, 1, 1),
        square(40, 14, 20, 3, 1, 1),
        // Strided, by phases and subsampled.
        square(16, 32, 8, 3, 2, 1),
        square(16, 16, 32, 1, 2, 0),
        // More than one tile.
        square(64, 56, 16, 1, 1, 0),
        Geometry { groups: 24, ..square(24, 14, 24, 3, 1, 1) },
        // Groups of several channels side by side, and the last ones by themselves.
        Geometry { groups: 10, ..square(30, 7, 20, 3, 1, 1) },
        Geometry { dilations: [2, 3], ..square(32, 12, 32, 3, 1, 2) },
        Geometry::dense(2000, 500),
    ] {
        Case::random(&geometry, 28, 12, 2, &mut rng).packed(12).unwrap_or_else(|| panic!("{geometry:?}")).check();
    }
}

#[test]
fn the_widest_accumulator_decrypts_with_extreme_weights_and_shares() {
    let geometry = square(256, 7, 16, 3, 1, 1);
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let mut case = Case::random(&geometry, 34, 12, 1, &mut rng);
    case.weight.fill(-(1 << 11));
    for share in [0, 1 << 33, mask(34), 1 << 32] {
        case.client_share.fill(share);
        case.server_share.fill(1 << 33);
        case.check();
    }
}

#[test]
fn the_widest_packed_accumulator_decrypts_with_extreme_weights_and_shares() {
    let geometry = square(256, 7, 16, 3, 1, 1);
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let mut case = Case::random(&geometry, 33, 12, 1, &mut rng).packed(12).unwrap();
    for weight in [-(1 << 11), 0] {
        case.weight.fill(weight);
        for share in [0, 1 << 32, mask(33)] {
            case.client_share.fill(share);
            case.server_share.fill(1 << 32);
            case.check();
        }
    }
}

#[test]
fn a_public_operand_and_no_bias() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let mut case = Case::random(&square(3, 8, 4, 3, 1, 1), 24, 10, 2, &mut rng);
    case.server_share.fill(0);
    case.bias = None;
    case.check();
}

#[test]
fn results_are_fresh_every_time() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let case = Case::random(&square(2, 6, 2, 3, 1, 1), 20, 8, 2, &mut rng);
    let mut keys = keys(2);
    let (client, server, first) = case.run(&mut keys);
    let (client_again, server_again, second) = case.run(&mut keys);
    assert!(client != client_again && server != server_again);
    // Byte for byte, the two transcripts agree no more than chance.
    assert_eq!(first.received.len(), second.received.len());
    let equal = first.received.iter().zip(&second.received).filter(|(a, b)| a == b).count();
    assert!(equal < first.received.len() / 100, "{equal} of {}", first.received.len());
}

#[test]
fn malformed_packing_keys_are_refused() {
    let key = ClientKey::generate().unwrap();
    let mut public = PublicKey::decode(key.public()).unwrap();
    let bytes = key.packing_keys(2);
    assert_eq!(bytes.len(), interleaved::key_bytes(2));
    assert!(public.set_packing_keys(&bytes, 2).is_ok());
    let mut refused = |bytes: &[u8], levels| {
        assert!(matches!(public.set_packing_keys(bytes, levels), Err(Error::PeerMisbehaved(_))));
    };
    refused(&bytes, 1);
    refused(&bytes, 3);
    refused(&bytes[1..], 2);
    refused(&[], 2);
    refused(&vec![0; interleaved::key_bytes(interleaved::MAX_LEVELS + 1)], interleaved::MAX_LEVELS + 1);
    let mut large = bytes.clone();
    large[bytes.len() - 7..].fill(0xff);
    refused(&large, 2);
}

#[test]
fn any_packing_keys_of_the_right_form_are_worked_with() {
    let mut rng = ChaCha20Rng::seed_from_u64(12);
    let case = Case::random(&square(16, 16, 16, 3, 1, 1), 28, 12, 1, &mut rng).packed(12).unwrap();
    let (levels, key) = (case.packing.levels(), ClientKey::generate().unwrap());
    let mut public = [PublicKey::decode(key.public()).unwrap()];
    public[0].set_packing_keys(&vec![0; interleaved::key_bytes(levels)], levels).unwrap();
    let (mut left, mut right) = pair();
    left.send(Kind::LinearUpload, vec![0; case.packing.upload_bytes()]).unwrap();
    let (share, weight) = (&case.server_share, &case.weight);
    assert!(server(&mut right, &case.packing, &public, &mut Workspace::default(), share, weight, None).is_ok());
}

#[test]
fn malformed_messages_are_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let case = Case::random(&square(1, 4, 1, 3, 1, 1), 20, 8, 1, &mut rng);
    let key = ClientKey::generate().unwrap();
    let public = [PublicKey::decode(key.public()).unwrap()];
    let run_server = |payload: Vec<u8>| {
        let (mut left, mut right) = pair();
        left.send(Kind::LinearUpload, payload).unwrap();
        server(&mut right, &case.packing, &public, &mut Workspace::default(), &case.server_share, &case.weight, None)
    };
    let bytes = case.packing.upload_bytes();
    assert!(run_server(vec![0; bytes]).is_ok());
    for payload in [vec![0; bytes - 1], vec![0; bytes + 1], vec![0xff; bytes]] {
        assert!(matches!(run_server(payload), Err(Error::PeerMisbehaved(_))));
    }
    let run_client = |payload: Vec<u8>| {
        let (mut left, mut right) = pair();
        right.send(Kind::LinearDownload, payload).unwrap();
        client(&mut left, &case.packing, &mut [ClientKey::generate().unwrap()], &case.client_share)
    };
    let bytes = case.packing.download_bytes();
    assert!(run_client(vec![0xa5; bytes]).is_ok());
    assert!(matches!(run_client(vec![0; bytes + 1]), Err(Error::PeerMisbehaved(_))));
    // A server whose result is of an odd number of bits may not hide anything in the last byte.
    let odd = Case::random(&square(1, 5, 1, 3, 1, 1), 20, 8, 1, &mut rng);
    let (mut left, mut right) = pair();
    right.send(Kind::LinearDownload, vec![0xff; odd.packing.download_bytes()]).unwrap();
    let refused = client(&mut left, &odd.packing, &mut [key], &odd.client_share);
    assert!(matches!(refused, Err(Error::PeerMisbehaved(_))));
}
