//! A malicious client, which is outside what is promised: what it gets of the model.
//!
//! The idea is that of SEEK (Chen and Fan, arXiv 2209.06373). Shares are additive, so a client can
//! add what it likes to any value between layers. It makes all elements of a layer's result but one
//! so small that a ReLU drops them, balances the scores so that the label says whether that one is
//! positive, and finds it exactly by bisection. The difference that one more at a layer's operand
//! makes is a weight. What layers lie before and behind does not matter; each step of a bisection
//! costs one position.

use std::net::TcpListener;
use std::time::Duration;

use fusion_backends::Session;
use fusion_catalogue::Keys;
use fusion_ir::plan::{Plan, Provenance, Suggestion};
use fusion_ir::types::{mask, wrap};
use fusion_ir::{Party, Schema, ValueId, Weights, text, verify};
use fusion_runtime::forecast::Forecast;
use fusion_runtime::session::handshake::{self, nonce};
use fusion_runtime::session::{BatchSize, Limits, Offline};
use fusion_runtime::transport::tcp::{self, TcpOptions, open};
use fusion_runtime::transport::{Connection, Lane, Link};
use fusion_runtime::{resolve, run_server};
use fusion_tests::parties::go_through_with;

const CLASSES: usize = 4;
const CHANNELS: usize = 2;
const TAPS: usize = 9;
/// Elements of the hidden layer: two by two in each channel.
const HIDDEN: usize = CHANNELS * 4;

const NETWORK: &str = "function \"small\"
weight @w0 \"conv.w\" : i8.4[2,1,3,3]
weight @w1 \"conv.b\" : i24.8[2]
weight @w2 \"dense.w\" : i8.4[4,8]
v0 = input : i24.4~9[1,4,4] by local \"x\"
v1 = conv v0, @w0, @w1 strides=[1,1] pads=[0,0,0,0] dilations=[1,1] groups=1 : i24.8~20[2,2,2] by cheetah \"conv\"
v2 = requant_relu v1 shift=6 : i18.2~14+[2,2,2] by cheetah \"relu\"
v3 = extend v2 : i26.2~14+[2,2,2] by cheetah \"relu\"
v4 = reshape v3 : i26.2~14[8] by local \"flat\"
v5 = dense v4, @w2 : i26.6~22[4] by cheetah \"dense\"
v6 = argmax v5 : i4.0~2+[1] by cheetah \"label\"
v7 = fusion.reveal v6 what=label : i4.0~2+[1] by cheetah \"label\"
";

const CONV: ValueId = ValueId(1);
const FLAT: ValueId = ValueId(4);
const SCORES: ValueId = ValueId(5);

/// The model: small numbers without a pattern, both signs, some zero.
fn plan() -> Plan {
    let mut state = 9u64;
    let mut random = |magnitude: i64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64 % (2 * magnitude + 1) - magnitude
    };
    let mut tensor = |count: usize, magnitude: i64| (0..count).map(|_| random(magnitude)).collect::<Vec<i64>>();
    let weights = Weights(vec![tensor(CHANNELS * TAPS, 127), tensor(CHANNELS, 1 << 15), tensor(CLASSES * HIDDEN, 127)]);
    let function = text::parse(NETWORK).unwrap();
    verify::verify_executable(&function).unwrap();
    let provenance = Provenance { compiler: "test 1".into(), calibrated: true };
    Plan {
        function,
        suggestion: Suggestion::default(),
        provenance,
        schema: Schema::default(),
        weights: Some(weights),
        demo: None,
    }
}

/// What a client asks at one position: its input, and what it adds to its shares of values.
struct Query {
    input: Vec<i64>,
    added: Vec<(ValueId, Vec<i64>)>,
}

/// A client in one session, micro-batch by micro-batch: each can depend on the labels of those
/// before it.
struct Client {
    session: Session,
    plan: Plan,
    /// Keeps the connection.
    _link: Connection,
    micro_batches: usize,
    /// Positions that were asked about something.
    asked: usize,
}

/// Positions of a micro-batch, and micro-batches of the session.
const AT_ONCE: usize = 24;
const MICRO_BATCHES: usize = STEPS_OF_SCORE + STEPS_OF_WEIGHT + STEPS_OF_BIAS + STEPS_OF_WEIGHT;
/// Steps of a bisection over differences of scores, over a layer's bias, and over differences of
/// two weights.
const STEPS_OF_SCORE: usize = 23;
const STEPS_OF_BIAS: usize = 18;
const STEPS_OF_WEIGHT: usize = 9;

impl Client {
    fn connect(plan: &Plan, mut link: Connection) -> Client {
        let plan = plan.for_client();
        let size = BatchSize::new((AT_ONCE * MICRO_BATCHES) as u64, AT_ONCE as u32, 1, Offline::default(), Keys::Layer);
        let mut control = link.open(Lane::CONTROL, 1 << 12).unwrap();
        let agreement = handshake::client(&mut *control, &plan, size, nonce().unwrap()).unwrap();
        let [layers, correlations] =
            [Lane::layers(0), Lane::correlations(0)].map(|lane| link.open(lane, 1 << 26).unwrap());
        let steps = resolve(&plan.function).unwrap();
        let supply = Forecast::new(&steps, size).supply(0);
        let id = agreement.stream_id(0);
        let session = Session::establish(Party::Client, layers, correlations, id, supply).unwrap();
        let session = session.on_demand().prepare(steps, size.keys).unwrap();
        Client { session, plan, _link: link, micro_batches: 0, asked: 0 }
    }

    /// The labels of one micro-batch.
    fn ask(&mut self, queries: &[Query]) -> Vec<i64> {
        assert!(queries.len() <= AT_ONCE);
        self.asked += queries.len();
        self.micro_batches += 1;
        let function = &self.plan.function;
        let bits = function.values[0].ty.bits;
        let elements = queries.iter().flat_map(|query| &query.input);
        let mut input: Vec<u64> = elements.map(|element| wrap(*element, bits)).collect();
        input.resize(AT_ONCE * function.values[0].ty.len(), 0);
        let batch = self.session.begin(AT_ONCE).unwrap();
        let outcome = go_through_with(batch, None, input, |id, share| {
            let ty = &function.value(id).ty;
            for (query, share) in queries.iter().zip(share.chunks_mut(ty.len())) {
                for (_, added) in query.added.iter().filter(|(value, _)| *value == id) {
                    let both = share.iter_mut().zip(added);
                    both.for_each(|(share, more)| *share = share.wrapping_add(*more as u64) & mask(ty.bits));
                }
            }
        });
        let labels = outcome.unwrap().revealed.expect("a label is revealed");
        labels[..queries.len()].to_vec()
    }

    /// For each of `count` unknowns the least `t` from `least` on, within `2^steps`, for which the
    /// label that `query` gets is `holds`.
    fn bisect(
        &mut self,
        count: usize,
        least: i64,
        steps: usize,
        query: impl Fn(usize, i64) -> Query,
        holds: impl Fn(usize, i64) -> bool,
    ) -> Vec<i64> {
        let mut found = vec![least; count];
        for step in (0..steps).rev() {
            // Whether it is `2^step` or more above what is known.
            let tried: Vec<i64> = found.iter().map(|found| found + (1 << step) - 1).collect();
            let queries: Vec<Query> = tried.iter().enumerate().map(|(at, t)| query(at, *t)).collect();
            for (at, label) in self.ask(&queries).into_iter().enumerate() {
                found[at] += if holds(at, label) { 0 } else { 1 << step };
            }
        }
        found
    }
}

/// So small a score that it never wins, so small an element that a ReLU drops it.
const NEVER: i64 = -(1 << 22);

/// What to add to the scores so that class `class` wins iff its score and `t` exceed that of
/// class 0.
fn balance(class: usize, t: i64) -> (ValueId, Vec<i64>) {
    let added = (0..CLASSES).map(|other| {
        if other == 0 {
            0
        } else if other == class {
            t
        } else {
            NEVER
        }
    });
    (SCORES, added.collect())
}

/// A vector with `value` at `place` and `other` elsewhere.
fn one(len: usize, place: usize, value: i64, other: i64) -> Vec<i64> {
    (0..len).map(|at| if at == place { value } else { other }).collect()
}

#[test]
fn a_client_that_deviates_reads_every_weight_in_as_many_positions_as_it_has_bits() {
    let plan = plan();
    let weights = plan.weights.clone().unwrap();
    let [conv, bias, dense] = [0, 1, 2].map(|at| weights.0[at].as_slice());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        let plan = &plan;
        scope.spawn(move || {
            let link = open(listener.accept().unwrap().0, Duration::from_secs(60)).unwrap();
            let limits = Limits { positions: 1 << 20, micro_batch: 1000, streams: 1, ahead: 1000 };
            run_server(Box::new(link), plan, limits, &mut |_| {}).unwrap();
        });
        let options = TcpOptions { timeout: Duration::from_secs(60), tls: None, allow_plaintext: false };
        let mut client = Client::connect(plan, tcp::connect(&address, &options).unwrap().0);

        // The last layer, on some input that need not be known: how far each score is behind class
        // 0's, then how far it is when an operand is one more.
        let classes: Vec<usize> = (1..CLASSES).collect();
        let input: Vec<i64> = (0..16).map(|i| 11 * i % 50).collect();
        let behind = client.bisect(
            classes.len(),
            NEVER + 1,
            STEPS_OF_SCORE,
            |at, t| Query { input: input.clone(), added: vec![balance(classes[at], t)] },
            |at, label| label == classes[at] as i64,
        );
        let pairs: Vec<(usize, usize)> = (0..HIDDEN).flat_map(|k| (0..classes.len()).map(move |c| (k, c))).collect();
        let with_more = client.bisect(
            pairs.len(),
            -256,
            STEPS_OF_WEIGHT,
            |at, t| {
                let (k, c) = pairs[at];
                let more = (FLAT, one(HIDDEN, k, 1, 0));
                Query { input: input.clone(), added: vec![more, balance(classes[c], behind[c] + t)] }
            },
            |at, label| label == classes[pairs[at].1] as i64,
        );
        let mut differences = vec![[0; HIDDEN]; CLASSES];
        for ((k, c), more) in pairs.iter().zip(&with_more) {
            differences[classes[*c]][*k] = -more;
        }
        let expected: Vec<[i64; HIDDEN]> =
            (0..CLASSES).map(|c| std::array::from_fn(|k| dense[c * HIDDEN + k] - dense[k])).collect();
        assert_eq!(differences, expected);

        // The layer before it: one element of its result is left over, and found where it no longer
        // becomes positive behind rounding, which drops the last 6 bits. First the biases, then
        // each weight of the kernels.
        let elements = [0, 4];
        let tell = |channel: usize| {
            let difference = |class: usize| expected[class][elements[channel]];
            classes.iter().copied().max_by_key(|class| difference(*class).abs()).map(|class| (class, difference(class)))
        };
        let tell: Vec<(usize, i64)> = (0..CHANNELS).map(|channel| tell(channel).unwrap()).collect();
        assert!(tell.iter().all(|(_, difference)| *difference != 0));
        let query = |channel: usize, t: i64, input: Vec<i64>| {
            let (class, difference) = tell[channel];
            let left_over = (CONV, one(HIDDEN, elements[channel], t, NEVER));
            Query { input, added: vec![left_over, balance(class, i64::from(difference < 0))] }
        };
        let positive = |channel: usize, label: i64| (label == tell[channel].0 as i64) == (tell[channel].1 > 0);
        let to_positive = client.bisect(
            CHANNELS,
            -(1 << (STEPS_OF_BIAS - 1)),
            STEPS_OF_BIAS,
            |channel, t| query(channel, t, vec![0; 16]),
            positive,
        );
        let biases: Vec<i64> = to_positive.iter().map(|t| 32 - t).collect();
        assert_eq!(biases, bias);
        let taps: Vec<(usize, usize)> = (0..CHANNELS).flat_map(|c| (0..TAPS).map(move |tap| (c, tap))).collect();
        let to_positive = client.bisect(
            taps.len(),
            -256,
            STEPS_OF_WEIGHT,
            |at, t| {
                let (channel, tap) = taps[at];
                query(channel, 32 - biases[channel] + t, one(16, tap / 3 * 4 + tap % 3, 1, 0))
            },
            |at, label| positive(taps[at].0, label),
        );
        assert_eq!(to_positive.iter().map(|t| -t).collect::<Vec<i64>>(), conv);

        assert_eq!(client.micro_batches, MICRO_BATCHES);
        let found = taps.len() + CHANNELS + pairs.len();
        println!("{found} numbers of a model in {} positions of one session", client.asked);
    });
}
