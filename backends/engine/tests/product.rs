//! Products of two shared matrices between two in-memory parties, against the integers.

use std::collections::BTreeSet;
use std::thread;

use chacha20::ChaCha20Rng;
use fusion_backends::channel::pair;
use fusion_backends::cheetah::linear::Workspace;
use fusion_backends::cheetah::product::{client, server};
use fusion_backends::rlwe::{ClientKey, PublicKey};
use fusion_backends::tap::{Log, Message, logged, watched};
use fusion_backends::{Channel, Error, Kind};
use fusion_catalogue::Keys;
use fusion_catalogue::cheetah::{Packings, Product, noise};
use fusion_catalogue::linear::Matrices;
use fusion_catalogue::rlwe::{POLYNOMIAL_BYTES, SEED_BYTES};
use fusion_ir::Party;
use fusion_ir::types::{mask, signed};
use rand_core::{Rng, SeedableRng};

/// What the client sends and receives, and the last message of either kind.
#[derive(Default)]
struct View {
    messages: Log,
    sent: Vec<u8>,
    received: Vec<u8>,
}

/// Products on several positions.
struct Case {
    product: Product,
    positions: usize,
    /// Both factors' shares, by party.
    shares: [[Vec<u64>; 2]; 2],
}

impl Case {
    /// Uniform shares.
    fn random(matrices: Matrices, acc_bits: u8, packed: bool, positions: usize, rng: &mut ChaCha20Rng) -> Case {
        let product = Product::of(&matrices, acc_bits, packed, &mut Packings::default()).unwrap();
        let lens = matrices.operand_lens();
        let mut share = || lens.map(|len| (0..positions * len).map(|_| rng.next_u64() & mask(acc_bits)).collect());
        Case { shares: [share(), share()], product, positions }
    }

    /// Runs both parties; returns both shares of the products and the client's view.
    fn run(&self, keys: &mut [ClientKey]) -> ([Vec<u64>; 2], View) {
        let (left, mut right) = pair();
        let levels = self.product.levels();
        let public: Vec<_> = keys.iter().map(|key| public_key(key, levels)).collect();
        let mut view = View::default();
        let mut channel = watched(logged(left, Party::Client, &view.messages), |_, message| match message {
            Message::Received(payload) => view.received.clone_from(payload),
            Message::Sending(payload) => view.sent.clone_from(payload),
        });
        let [client_shares, server_shares] = self.shares.each_ref().map(|shares| shares.each_ref().map(Vec::as_slice));
        let shares = thread::scope(|scope| {
            // The channel's end moves along, so that the client ends if the server panics.
            let server = scope.spawn(move || {
                server(&mut right, &self.product, &public, &mut Workspace::default(), server_shares).unwrap()
            });
            let client = client(&mut channel, &self.product, keys, client_shares).unwrap();
            [client, server.join().unwrap()]
        });
        drop(channel);
        (shares, view)
    }

    /// The products, by definition, on integers that do not overflow.
    fn expected(&self) -> Vec<u64> {
        let (bits, Matrices { rows, inner, columns, .. }) = (self.product.acc_bits(), *self.product.matrices());
        let factor = |at: usize| -> Vec<i128> {
            let sum = |(a, b): (&u64, &u64)| signed(a.wrapping_add(*b), bits).into();
            self.shares[0][at].iter().zip(&self.shares[1][at]).map(sum).collect()
        };
        let (x, y) = (factor(0), factor(1));
        let mut products = Vec::new();
        for (x, y) in x.chunks(rows * inner).zip(y.chunks(inner * columns)) {
            for i in 0..rows {
                for j in 0..columns {
                    let sum: i128 = (0..inner).map(|l| x[i * inner + l] * y[l * columns + j]).sum();
                    products.push(sum.rem_euclid(1 << bits) as u64);
                }
            }
        }
        products
    }

    /// Asserts that the shares add up to the definition and the messages are those predicted.
    fn check(&self) {
        let ([client, server], view) = self.run(&mut keys(self.positions));
        let mask = mask(self.product.acc_bits());
        assert!(client.iter().chain(&server).all(|share| share & !mask == 0), "shares are elements of the ring");
        let sum: Vec<u64> = client.iter().zip(&server).map(|(a, b)| a.wrapping_add(*b) & mask).collect();
        assert!(sum == self.expected(), "{:?}", self.product);
        assert_eq!(*view.messages.lock().unwrap(), self.product.cost(Keys::Position, self.positions).messages);
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

fn matrices(batch: usize, [rows, inner, columns]: [usize; 3]) -> Matrices {
    Matrices { batch, rows, inner, columns }
}

#[test]
fn shares_add_up_over_random_shapes_and_widths() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut packed = 0;
    for case in 0..40 {
        let mut size = |most: u64| 1 + (rng.next_u64() % most) as usize;
        let matrices = matrices(size(3), [size(20), size(20), size(20)]);
        let (acc_bits, positions) = (1 + size(33) as u8, size(3));
        let case = Case::random(matrices, acc_bits, case % 2 == 0, positions, &mut rng);
        case.check();
        packed += usize::from(case.product.levels() > 0);
    }
    assert!(packed >= 5, "{packed}");
}

/// Widths at which shares are cut into one digit, two and more.
#[test]
fn every_number_of_digits_gives_the_same_products() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let mut digits = BTreeSet::new();
    for packed in [false, true] {
        for acc_bits in [2, 3, 16, 24, 26, 27, 30, 33, 34] {
            let case = Case::random(matrices(2, [12, 40, 9]), acc_bits, packed, 1, &mut rng);
            digits.extend(case.product.terms().iter().map(|term| term.digits));
            case.check();
        }
    }
    assert!(digits.len() >= 2 && digits.contains(&1), "{digits:?}");
}

#[test]
fn attention_of_two_heads() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    for packed in [false, true] {
        // Scores, then values.
        Case::random(matrices(2, [64, 32, 64]), 32, packed, 2, &mut rng).check();
        Case::random(matrices(2, [64, 64, 32]), 30, packed, 1, &mut rng).check();
    }
}

#[test]
fn a_row_by_a_column_and_a_column_by_a_row() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for extents in [[1, 300, 1], [100, 1, 70], [1, 1, 1], [1, 700, 5]] {
        for packed in [false, true] {
            Case::random(matrices(1, extents), 28, packed, 1, &mut rng).check();
        }
    }
}

#[test]
fn extreme_shares_decrypt_at_every_width() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    for packed in [false, true] {
        for acc_bits in [26, 33, 34] {
            let mut case = Case::random(matrices(1, [16, 96, 16]), acc_bits, packed, 1, &mut rng);
            let top = 1 << (acc_bits - 1);
            for share in [0, 1, top, top - 1, mask(acc_bits)] {
                for other in [top, mask(acc_bits)] {
                    case.shares[0].iter_mut().for_each(|share_of| share_of.fill(share));
                    case.shares[1].iter_mut().for_each(|share_of| share_of.fill(other));
                    case.check();
                }
            }
        }
    }
}

/// What the flood must hide is counted by the code that counts it for layers with weights, at the
/// width of the digits.
#[test]
fn noise_is_hidden_at_every_width() {
    for packed in [false, true] {
        for acc_bits in 2..=34 {
            for extents in [[4, 4, 4], [128, 64, 128], [197, 64, 197], [128, 768, 128]] {
                let product = Product::of(&matrices(2, extents), acc_bits, packed, &mut Packings::default());
                let product = product.unwrap_or_else(|refused| panic!("{extents:?} at {acc_bits} bits: {refused}"));
                for (at, term) in product.terms().iter().enumerate() {
                    let bits = product.digit_bits(at);
                    assert!(bits * term.digits >= acc_bits, "digits hold the whole share");
                    let noise = term.packing.noise(bits).unwrap();
                    assert!(noise.hiding_bits() >= noise::HIDING_BITS && noise.failure_log2() <= noise::FAILURE_LOG2);
                }
            }
        }
    }
    let wide = Product::of(&matrices(1, [4, 4, 4]), 35, false, &mut Packings::default());
    assert!(wide.unwrap_err().to_string().contains("35 bits"));
}

/// As a curious client sees it: with the same inputs and the same key nothing repeats, not even the
/// components that it could compute if it knew the server's shares.
#[test]
fn results_are_fresh_every_time() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    for packed in [false, true] {
        let case = Case::random(matrices(2, [24, 40, 24]), 30, packed, 2, &mut rng);
        let mut again = keys(2);
        let mut run = || case.run(&mut again);
        let ([client, server], first) = run();
        let ([client_again, server_again], second) = run();
        assert!(client != client_again && server != server_again);
        let equal = first.received.iter().zip(&second.received).filter(|(a, b)| a == b).count();
        assert!(equal * 100 < first.received.len(), "{equal} of {}", first.received.len());
    }
}

/// The client knows all that goes into `a` but the server's share: with the same uploads and a
/// right guess of that share it could make the same. With every number of digits, and packed or
/// not.
#[test]
fn a_client_cannot_test_a_guess_of_the_servers_share() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut seen = BTreeSet::new();
    for packed in [false, true] {
        for (acc_bits, extents) in [(24, [24, 40, 24]), (30, [24, 40, 24]), (34, [24, 700, 24])] {
            let case = Case::random(matrices(1, extents), acc_bits, packed, 1, &mut rng);
            let terms = case.product.terms().each_ref();
            assert_eq!(case.product.levels() > 0, packed);
            seen.extend(terms.map(|term| (term.digits, packed)));
            guess(&case);
        }
    }
    assert_eq!(seen, [1, 2, 3].into_iter().flat_map(|digits| [(digits, false), (digits, true)]).collect());
}

fn guess(case: &Case) {
    let (product, levels) = (&case.product, case.product.levels());
    let key = ClientKey::generate().unwrap();
    let public = [public_key(&key, levels)];
    let upload: Vec<u8> = {
        let (mut left, mut right) = pair();
        let shares = case.shares[0].each_ref().map(Vec::as_slice);
        thread::scope(|scope| {
            scope.spawn(move || client(&mut left, product, &mut [key], shares).expect_err("nobody answers"));
            let upload = right.receive(Kind::LinearUpload, product.upload_bytes()).unwrap();
            drop(right);
            upload
        })
    };
    let answer = || {
        let (mut left, mut right) = pair();
        left.send(Kind::LinearUpload, upload.clone()).unwrap();
        let shares = case.shares[1].each_ref().map(Vec::as_slice);
        server(&mut right, product, &public, &mut Workspace::default(), shares).unwrap();
        left.receive(Kind::LinearDownload, product.download_bytes()).unwrap()
    };
    let (answered, guessed) = (answer(), answer());
    let mut start = 0;
    for term in product.terms() {
        let end = start + term.packing.download_bytes();
        // All of `a`, then the coefficients of `b`.
        for part in [start..start + term.packing.a_bytes(), start + term.packing.a_bytes()..end] {
            let differing = answered[part.clone()].iter().zip(&guessed[part.clone()]).filter(|(l, r)| l != r).count();
            // Independent bytes are equal once in 256.
            assert!(differing * 100 > part.len() * 98, "{product:?}: {differing} of {}", part.len());
        }
        start = end;
    }
    assert_eq!(start, answered.len());
}

/// Positions with the same shares, as two copies of a query may be: no key, seed or ciphertext
/// comes twice, neither at both positions nor in both terms.
#[test]
fn equal_positions_share_no_seed_and_no_ciphertext() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    for packed in [false, true] {
        let mut case = Case::random(matrices(2, [24, 40, 24]), 30, packed, 2, &mut rng);
        for share in case.shares.iter_mut().flatten() {
            let half = share.len() / 2;
            share.copy_within(..half, half);
        }
        let mut keys = keys(2);
        assert!(keys[0].public() != keys[1].public());
        let (_, view) = case.run(&mut keys);
        let (mut parts, mut rest) = (Vec::new(), view.sent.as_slice());
        for term in case.product.terms() {
            for _ in 0..2 {
                let (upload, behind) = rest.split_at(term.packing.upload_bytes());
                rest = behind;
                let (seed, polynomials) = upload.split_at(SEED_BYTES);
                parts.push(seed);
                parts.extend(polynomials.chunks(POLYNOMIAL_BYTES));
            }
        }
        assert!(rest.is_empty());
        assert_eq!(parts.iter().collect::<BTreeSet<_>>().len(), parts.len());
    }
}

#[test]
fn malformed_messages_are_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let case = Case::random(matrices(1, [3, 5, 2]), 20, false, 1, &mut rng);
    let key = ClientKey::generate().unwrap();
    let public = [PublicKey::decode(key.public()).unwrap()];
    let shares = |party: usize| case.shares[party].each_ref().map(Vec::as_slice);
    let run_server = |payload: Vec<u8>| {
        let (mut left, mut right) = pair();
        left.send(Kind::LinearUpload, payload).unwrap();
        server(&mut right, &case.product, &public, &mut Workspace::default(), shares(1))
    };
    let bytes = case.product.upload_bytes();
    assert!(run_server(vec![0; bytes]).is_ok());
    for payload in [vec![0; bytes - 1], vec![0; bytes + 1], vec![0xff; bytes]] {
        assert!(matches!(run_server(payload), Err(Error::PeerMisbehaved(_))));
    }
    // Only the last polynomial of the second term is none.
    let mut last = vec![0; bytes];
    last[bytes - 7..].fill(0xff);
    assert!(matches!(run_server(last), Err(Error::PeerMisbehaved(_))));
    let run_client = |payload: Vec<u8>| {
        let (mut left, mut right) = pair();
        right.send(Kind::LinearDownload, payload).unwrap();
        client(&mut left, &case.product, &mut [ClientKey::generate().unwrap()], shares(0))
    };
    let bytes = case.product.download_bytes();
    assert!(run_client(vec![0; bytes]).is_ok());
    for payload in [vec![0; bytes - 1], vec![0; bytes + 1]] {
        assert!(matches!(run_client(payload), Err(Error::PeerMisbehaved(_))));
    }
}
