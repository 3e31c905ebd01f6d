//! A malicious server as a test double: the real protocols, driven by hand, with every message in
//! its own hands.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fusion_backends::tap::Tapped;
use fusion_backends::{Channel, Error, Kind, Session};
use fusion_catalogue::cheetah::Product;
use fusion_catalogue::{Keys, Step, Steps, step};
use fusion_ir::soundness::Policy;
use fusion_ir::{Party, Plan, Weights, interp};
use fusion_runtime::forecast::Forecast;
use fusion_runtime::fusion::{Job, PublicSample, Row, RowDigest};
use fusion_runtime::session::Limits;
use fusion_runtime::session::handshake::{self, nonce};
use fusion_runtime::transport::tcp::{self, TcpOptions, open};
use fusion_runtime::transport::{Lane, Link, Wrapped};
use fusion_runtime::{Flow, input, resolve, run_client};
use fusion_tests::desk::{Desk, Example};
use fusion_tests::parties::{beside, go_through};
use fusion_tests::root;

pub use fusion_backends::tap::{Act, Message};

/// Queries of a client.
pub const QUERIES: usize = 3;
/// Bits of position consistency of a client: what is said to be always rejected passes with 2^-20.
pub const LAMBDA: f64 = 20.0;

/// More than any honest client is ahead in these tests.
const AHEAD_BYTES: u64 = 1 << 26;

/// A strategy is a function of a case; here it becomes a test on each of them.
macro_rules! on_every_case {
    ($($strategy:ident),+ $(,)?) => {
        mod network {
            $(#[test] fn $strategy() { super::$strategy(crate::malice::Case::network()); })+
        }
        mod forest {
            $(#[test] fn $strategy() { super::$strategy(crate::malice::Case::forest()); })+
        }
    };
}
pub(crate) use on_every_case;

/// The same on the network that multiplies secret matrices.
macro_rules! on_attention {
    ($($strategy:ident),+ $(,)?) => {
        mod attention {
            $(#[test] fn $strategy() { super::$strategy(crate::malice::Case::attention()); })+
        }
    };
}
pub(crate) use on_attention;

/// The same for strategies that another order of linear layers might make a difference to.
macro_rules! also_with_layers_ahead {
    ($($strategy:ident),+ $(,)?) => {
        mod layers_ahead {
            $(#[test] fn $strategy() { super::$strategy(crate::malice::Case::layers_ahead()); })+
        }
    };
}
pub(crate) use also_with_layers_ahead;

/// A model of digits with samples and the labels that it gives them.
pub struct Case {
    /// Which one.
    pub example: Example,
    /// The server's plan.
    pub plan: Plan,
    /// Held-out samples, quantised.
    pub inputs: Vec<Vec<i64>>,
    /// The model's labels of them, by the reference interpreter.
    pub labels: Vec<i64>,
    /// How a client's linear layers are computed, if it does not choose by itself.
    pub keys: Option<Keys>,
}

/// What became of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It accepted, with these labels: exit code 0.
    Accepted(Vec<i64>),
    /// It rejected: exit code 3.
    Rejected,
    /// The session failed, by the server's fault: exit code 4.
    Failed,
}

type Meddle = Box<dyn FnMut(Kind, usize, Message<'_>) -> Act + Send>;

/// A malicious server.
pub struct Rogue {
    /// The models that it has, all of the plan's architecture and formats.
    pub models: Vec<Weights>,
    /// Which of them answers micro-batch number so and so.
    pub choice: Box<dyn FnMut(usize) -> usize + Send>,
    /// What it does with each message: its kind and its number among that kind and direction.
    pub meddle: Meddle,
}

impl Rogue {
    /// One that answers everything with `model`.
    pub fn with_model(model: Weights) -> Rogue {
        Rogue { models: vec![model], choice: Box::new(|_| 0), meddle: Box::new(|_, _, _| Act::Pass) }
    }

    /// One with the right model that does something with messages.
    pub fn meddling(case: &Case, meddle: impl FnMut(Kind, usize, Message<'_>) -> Act + Send + 'static) -> Rogue {
        Rogue { meddle: Box::new(meddle), ..Rogue::with_model(case.weights().clone()) }
    }

    /// One with the right model that changes messages of one kind before it sends them.
    pub fn changing(case: &Case, kind: Kind, mut change: impl FnMut(usize, &mut Vec<u8>) + Send + 'static) -> Rogue {
        Rogue::meddling(case, move |found, number, message| {
            if let (true, Message::Sending(payload)) = (found == kind, message) {
                change(number, payload);
            }
            Act::Pass
        })
    }

    /// Serves one session with whoever connects, as the protocols demand but for the choices above.
    /// The first stream that fails ends the others.
    pub fn serve(self, plan: &Plan, mut link: impl Link) -> Result<(), fusion_runtime::Error> {
        let Rogue { models, choice, meddle } = self;
        let hands = Arc::new(Mutex::new(Hands { meddle, sent: Vec::new(), received: Vec::new() }));
        let mut open = |lane| -> Result<Box<dyn Channel>, Error> {
            let inner = link.open(lane, AHEAD_BYTES)?;
            let hands = Arc::clone(&hands);
            Ok(Box::new(Tapped::new(inner, move |kind, message: Message<'_>| hands.lock().unwrap().on(kind, message))))
        };
        let mut control = open(Lane::CONTROL)?;
        let limits = Limits { positions: 1000, micro_batch: 1000, streams: Lane::STREAMS as u8, ahead: 1000 };
        let nonce = nonce().expect("the system has randomness");
        let agreement = handshake::server(&mut *control, plan, limits, &mut |_| Ok(()), nonce)?;
        let size = agreement.size();
        let streams = usize::from(size.schedule.streams);
        let steps = resolve(&plan.function)?;
        let lanes = (0..streams).map(|stream| {
            let lanes = [Lane::layers(stream), Lane::correlations(stream), Lane::masks(stream)];
            Ok([open(lanes[0])?, open(lanes[1])?, open(lanes[2])?])
        });
        let lanes: Result<Vec<_>, Error> = lanes.collect();
        let (forecast, choice) = (Forecast::new(&steps, size), Mutex::new(choice));
        let link = &link;
        let serve = |stream: usize, [layers, generator, mut masks]: [Box<dyn Channel>; 3]| -> Result<(), Error> {
            let (id, supply) = (agreement.stream_id(stream), forecast.supply(stream));
            let session = Session::establish(Party::Server, layers, generator, id, supply)?;
            let mut session = session.on_demand().prepare(Arc::clone(&steps), size.keys)?;
            for micro_batch in size.schedule.numbers(stream) {
                let model = &models[(choice.lock().unwrap())(micro_batch)];
                let positions = size.schedule.range(micro_batch).len();
                let input = vec![0; positions * plan.function.values[0].ty.len()];
                let batch = session.begin(positions)?;
                let failed = || link.break_off();
                beside(batch, &mut *masks, Some(model), failed, |batch| go_through(batch, Some(model), input))?;
            }
            Ok(())
        };
        let serve = &serve;
        std::thread::scope(|scope| {
            let run = |(stream, lanes)| scope.spawn(move || serve(stream, lanes).inspect_err(|_| link.break_off()));
            let threads: Vec<_> = lanes?.into_iter().enumerate().map(run).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a rogue does not panic"))
        })?;
        drop(control);
        Ok(())
    }
}

/// A server's hands, on the messages of all lanes.
struct Hands {
    meddle: Meddle,
    sent: Vec<Kind>,
    received: Vec<Kind>,
}

impl Hands {
    fn on(&mut self, kind: Kind, message: Message<'_>) -> Act {
        let earlier = if let Message::Sending(_) = message { &mut self.sent } else { &mut self.received };
        let number = count(earlier, kind);
        (self.meddle)(kind, number, message)
    }
}

fn count(earlier: &mut Vec<Kind>, kind: Kind) -> usize {
    earlier.push(kind);
    earlier.iter().filter(|found| **found == kind).count() - 1
}

impl Case {
    /// The convolutional network.
    pub fn network() -> &'static Case {
        static CASE: OnceLock<Case> = OnceLock::new();
        CASE.get_or_init(|| Case::of(Example::Network))
    }

    /// The forest of decision trees.
    pub fn forest() -> &'static Case {
        static CASE: OnceLock<Case> = OnceLock::new();
        CASE.get_or_init(|| Case::of(Example::Forest))
    }

    /// The network with products of secret matrices, by ciphertexts.
    pub fn attention() -> &'static Case {
        static CASE: OnceLock<Case> = OnceLock::new();
        CASE.get_or_init(|| {
            let case = Case::of(Example::Attention);
            assert_eq!(case.products().len(), 2);
            case
        })
    }

    /// The convolutional network, for clients whose linear layers are computed on masks.
    pub fn layers_ahead() -> &'static Case {
        static CASE: OnceLock<Case> = OnceLock::new();
        CASE.get_or_init(|| Case { keys: Some(Keys::Ahead), ..Case::of(Example::Network) })
    }

    fn of(example: Example) -> Case {
        let plan = Plan::from_bytes(&Desk::of(example).read("plan.bin")).unwrap();
        let path = root().join("models/digits/queries.npy");
        let rows = input::samples(&path, &plan, input::Apart::default()).unwrap().rows;
        let inputs: Vec<Vec<i64>> = rows.into_iter().map(|row| row.elements).collect();
        let labels = answers(&plan, plan.weights.as_ref().unwrap(), &inputs);
        Case { example, plan, inputs, labels, keys: None }
    }

    /// The right model.
    pub fn weights(&self) -> &Weights {
        self.plan.weights.as_ref().unwrap()
    }

    /// The labels that another model of the same architecture gives the samples.
    pub fn answers_of(&self, model: &Weights) -> Vec<i64> {
        answers(&self.plan, model, &self.inputs)
    }

    /// The right labels of a client's queries.
    pub fn expected(&self) -> Vec<i64> {
        self.labels[..QUERIES].to_vec()
    }

    /// A client's samples: the first are queries, the rest public, with the model's own labels: it
    /// is never wrong.
    pub fn job(&self) -> Job {
        self.job_of(&(0..QUERIES).collect::<Vec<_>>(), &(QUERIES..self.inputs.len()).collect::<Vec<_>>())
    }

    /// A client with these samples as queries and those as public ones, each of which passes for a
    /// sample of its own.
    pub fn job_of(&self, queries: &[usize], public: &[usize]) -> Job {
        self.job_of_accuracy(queries, public, 1.0)
    }

    /// [`Case::job_of`] for a client that has been told of an accuracy.
    pub fn job_of_accuracy(&self, queries: &[usize], public: &[usize], accuracy: f64) -> Job {
        let row = |number: usize, at: usize| Row {
            elements: self.inputs[at].clone(),
            digest: RowDigest::of([number as f64]),
        };
        let sample = |(number, at): (usize, &usize)| PublicSample {
            row: row(queries.len() + number, *at),
            known: vec![self.labels[*at]].into(),
        };
        let public = public.iter().take(60).enumerate().map(sample).collect();
        let queries = queries.iter().enumerate().map(|(number, at)| row(number, *at)).collect();
        let policy = Policy { lambda: LAMBDA, accuracy, largest_share: Some(0.3), ..Policy::default() };
        Job::verified(queries, public, policy).unwrap()
    }

    /// The right model with the rows of its last layer rotated by one class: wrong on everything.
    pub fn rotated(&self) -> Weights {
        self.rotated_of(self.weights())
    }

    /// A model with the rows of its last layer rotated by one class: never its label.
    pub fn rotated_of(&self, model: &Weights) -> Weights {
        let mut model = model.clone();
        let [weight, bias] = self.last_layer();
        let row = model.0[weight].len() / model.0[bias].len();
        // Sums of leaves have a row for every digit of every class.
        for (tensor, row) in [(weight, row), (bias, 1)] {
            model.0[tensor].chunks_exact_mut(row * self.classes()).for_each(|digit| digit.rotate_right(row));
        }
        model
    }

    /// The right model with a last layer of zeros, which need not be computed: class 0, whatever
    /// the sample.
    pub fn lazy(&self) -> Weights {
        let mut model = self.weights().clone();
        self.last_layer().into_iter().for_each(|tensor| model.0[tensor].fill(0));
        model
    }

    /// Classes that a label can name.
    pub fn classes(&self) -> usize {
        let logits = interp::logits_of(&self.plan.function).expect("labels are of logits");
        self.plan.function.value(logits).ty.len()
    }

    /// Linear layers and products by ciphertexts: results of them in a micro-batch.
    pub fn linear_layers(&self) -> usize {
        let layers = self.plan.function.values.iter().filter(|value| value.op.kernel().is_some());
        layers.count() + self.products().len()
    }

    /// The results in a micro-batch that are worth spoiling: of a network with products those
    /// alone, as others are what other cases have.
    pub fn spoiled(&self) -> Vec<usize> {
        let steps = Steps::of(&self.plan.function).unwrap();
        let sends = |step: &&Step| matches!(step, Step::Linear(_) | Step::Product(_));
        let results: Vec<&Step> = steps.iter().filter(sends).collect();
        assert_eq!(results.len(), self.linear_layers());
        let is_product = |at: &usize| matches!(results[*at], Step::Product(_));
        let (products, layers): (Vec<usize>, Vec<usize>) = (0..results.len()).partition(is_product);
        if products.is_empty() { layers } else { products }
    }

    /// Products of secret matrices by ciphertexts.
    pub fn products(&self) -> Vec<Arc<Product>> {
        let product = |step: &Step| match step {
            Step::Product(step::Product::Cheetah(product)) => Some(Arc::clone(product)),
            _ => None,
        };
        Steps::of(&self.plan.function).unwrap().iter().filter_map(product).collect()
    }

    /// Weight and bias of the last linear layer.
    pub fn last_layer(&self) -> [usize; 2] {
        let layer = self.plan.function.values.iter().rev().find(|value| value.op.weights().next().is_some()).unwrap();
        let tensors: Vec<usize> = layer.op.weights().map(|weight| weight.index()).collect();
        tensors.try_into().unwrap()
    }
}

fn answers(plan: &Plan, model: &Weights, inputs: &[Vec<i64>]) -> Vec<i64> {
    inputs.iter().map(|input| interp::output(&plan.function, model, input)[0]).collect()
}

impl Case {
    /// A client with `job` against `rogue` over TCP, in micro-batches of `micro_batch` positions; 0
    /// is the whole batch.
    pub fn play(&self, job: &Job, micro_batch: usize, rogue: Rogue) -> Outcome {
        self.play_over(job, micro_batch, 1, rogue, |_, channel| channel)
    }

    /// As [`Case::play`], with two micro-batches in flight.
    pub fn play_side_by_side(&self, job: &Job, micro_batch: usize, rogue: Rogue) -> Outcome {
        self.play_over(job, micro_batch, 2, rogue, |_, channel| channel)
    }

    /// A client with at most `streams` micro-batches in flight, and with something put around its
    /// ends.
    pub fn play_over(
        &self,
        job: &Job,
        micro_batch: usize,
        streams: u8,
        rogue: Rogue,
        around: impl FnMut(Lane, Box<dyn Channel>) -> Box<dyn Channel> + Send + Sync + 'static,
    ) -> Outcome {
        let micro_batch = if micro_batch == 0 { job.batch().positions() as u32 } else { micro_batch as u32 };
        let (micro_batch, streams) = (Some(micro_batch), Some(streams));
        let flow = Flow { micro_batch, streams, keys: self.keys, ..Flow::default() };
        self.play_in(job, flow, rogue, around)
    }

    /// A client whose batch goes through the layers like that, and with something put around its
    /// ends.
    pub fn play_in(
        &self,
        job: &Job,
        flow: Flow,
        rogue: Rogue,
        around: impl FnMut(Lane, Box<dyn Channel>) -> Box<dyn Channel> + Send + Sync + 'static,
    ) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let connection = open(listener.accept().unwrap().0, Duration::from_secs(60)).unwrap();
                // The client may hang up on it; what counts is what it makes of the session.
                let _ = rogue.serve(&self.plan, connection);
            });
            let (connection, _) = tcp::connect(
                &address,
                &TcpOptions { timeout: Duration::from_secs(10), tls: None, allow_plaintext: false },
            )
            .unwrap();
            let plan = self.plan.for_client();
            let link = Box::new(Wrapped::new(connection, around));
            match run_client(link, &plan, job, flow, &mut |_| {}) {
                Ok(report) if report.verdict.accepted => Outcome::Accepted(report.labels.unwrap()),
                Ok(report) => {
                    assert_eq!(report.labels, None, "labels of a rejected batch");
                    Outcome::Rejected
                }
                Err(error) => {
                    assert_eq!(error.exit_code(), 4, "{error}");
                    Outcome::Failed
                }
            }
        })
    }
}
