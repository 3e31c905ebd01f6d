//! A function through a session of two parties in one process: how they sit, how the session
//! begins, and the loop over its steps.

#![allow(dead_code, reason = "each test uses some of it")]

use std::ops::DerefMut;
use std::sync::{Arc, Mutex};

use fusion_backends::channel::pair;
#[cfg(debug_assertions)]
use fusion_backends::ot::ideal::{self, Dealer};
#[cfg(debug_assertions)]
use fusion_backends::session::Unprepared;
use fusion_backends::{Channel, Error, MicroBatch, Session};
use fusion_catalogue::ot::{OtCount, OtSource};
use fusion_catalogue::{Cost, Keys, Steps};
use fusion_ir::types::{signed, wrap};
use fusion_ir::{Function, Op, Party, TensorType, ValueId, Weights};

/// Where a session's random OTs come from.
#[derive(Clone, Copy, Debug)]
pub enum Supply {
    /// From a trusted dealer in this process, without messages: for tests that are not about
    /// oblivious transfer. Release builds have no dealer; there the default source makes them.
    Dealt,
    /// From the protocols.
    Made(OtSource),
}

/// One party's place, before its session begins.
pub struct Seat {
    /// Whose it is.
    pub party: Party,
    online: Box<dyn Channel>,
    offline: Offline,
    masks: Box<dyn Channel>,
}

enum Offline {
    Made {
        channel: Box<dyn Channel>,
        source: OtSource,
        ahead: Option<Vec<OtCount>>,
    },
    #[cfg(debug_assertions)]
    Dealt(Box<Dealer>),
}

/// Which of a party's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// That of the layers.
    Online,
    /// That of the generator of OTs, if they are not dealt.
    Offline,
    /// That of linear layers on masks.
    Masks,
}

/// The client's and the server's seats.
pub fn seats(supply: Supply) -> [Seat; 2] {
    let source = match supply {
        #[cfg(debug_assertions)]
        Supply::Dealt => {
            let (client, server) = ideal::pair(7);
            return across([Offline::Dealt(Box::new(client)), Offline::Dealt(Box::new(server))]);
        }
        #[cfg(not(debug_assertions))]
        Supply::Dealt => OtSource::default(),
        Supply::Made(source) => source,
    };
    let (client, server) = pair();
    let channels: [Box<dyn Channel>; 2] = [Box::new(client), Box::new(server)];
    across(channels.map(|channel| Offline::Made { channel, source, ahead: None }))
}

fn across([client, server]: [Offline; 2]) -> [Seat; 2] {
    let ((to_server, to_client), (left, right)) = (pair(), pair());
    [
        Seat { party: Party::Client, online: Box::new(to_server), offline: client, masks: Box::new(left) },
        Seat { party: Party::Server, online: Box::new(to_client), offline: server, masks: Box::new(right) },
    ]
}

impl Seat {
    /// The same with something around its channels.
    pub fn over(mut self, mut around: impl FnMut(Line, Box<dyn Channel>) -> Box<dyn Channel>) -> Seat {
        self.online = around(Line::Online, self.online);
        self.masks = around(Line::Masks, self.masks);
        self.offline = match self.offline {
            Offline::Made { channel, source, ahead } => {
                Offline::Made { channel: around(Line::Offline, channel), source, ahead }
            }
            #[cfg(debug_assertions)]
            dealt => dealt,
        };
        self
    }

    /// The same, which makes its OTs ahead of the layers if they are not dealt.
    pub fn ahead(mut self, draws: Vec<OtCount>) -> Seat {
        match &mut self.offline {
            Offline::Made { ahead, .. } => *ahead = Some(draws),
            #[cfg(debug_assertions)]
            Offline::Dealt(_) => {}
        }
        self
    }

    /// What will have been drawn of a dealer, if there is one.
    pub fn drawn(&self) -> Option<Arc<Mutex<Vec<OtCount>>>> {
        match &self.offline {
            Offline::Made { .. } => None,
            #[cfg(debug_assertions)]
            Offline::Dealt(dealer) => Some(dealer.drawn()),
        }
    }

    /// Begins the session. It ends as soon as the peer's does.
    pub fn session(self, steps: Arc<Steps>, keys: Keys) -> Result<Session, Error> {
        self.session_with_masks(steps, keys).map(|(session, _)| session)
    }

    /// The same, and the channel for linear layers on masks.
    pub fn session_with_masks(self, steps: Arc<Steps>, keys: Keys) -> Result<(Session, Box<dyn Channel>), Error> {
        const ID: [u8; 32] = [7; 32];
        let Seat { party, online, offline, masks } = self;
        let unprepared = match offline {
            Offline::Made { channel, source, ahead } => {
                let established = Session::establish(party, online, channel, ID, source)?;
                match ahead {
                    Some(draws) => established.preprocess(draws)?,
                    None => established.on_demand(),
                }
            }
            #[cfg(debug_assertions)]
            Offline::Dealt(dealer) => Unprepared::dealt(party, online, ID, *dealer),
        };
        Ok((unprepared.prepare(steps, keys)?, masks))
    }
}

/// What `run` gives for the client and for the server, each on a thread of its own.
pub fn both<T: Send>([client, server]: [Seat; 2], run: impl Fn(Seat) -> T + Sync) -> [T; 2] {
    std::thread::scope(|scope| {
        let server = scope.spawn(|| run(server));
        // Whoever panics lets go of its channels, so that the other one ends too.
        [run(client), server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
    })
}

/// A function with what both parties bring to it.
pub struct Program<'p> {
    /// Its steps.
    pub steps: Arc<Steps>,
    /// Which layers share key pairs.
    pub keys: Keys,
    /// The server's.
    pub weights: &'p Weights,
    /// The client's, position-major.
    pub inputs: &'p [i64],
}

/// What a party has of a function that is through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its share of every value, position-major.
    pub shares: Vec<Vec<u64>>,
    /// What was opened to it.
    pub revealed: Option<Vec<i64>>,
}

impl<'p> Program<'p> {
    /// With the key pairs that the steps suggest.
    ///
    /// # Panics
    /// If a family cannot compute what it is to compute.
    pub fn new(function: &Function, weights: &'p Weights, inputs: &'p [i64]) -> Program<'p> {
        let steps = Steps::of(function).expect("every operation is one that its family computes");
        Program { keys: Keys::of(&steps), steps: Arc::new(steps), weights, inputs }
    }

    /// How many positions there are inputs of.
    pub fn positions(&self) -> usize {
        self.inputs.len() / self.steps.function().values[0].ty.len()
    }

    /// What a session of this one micro-batch costs, beside its generator's messages.
    pub fn cost(&self) -> Cost {
        let mut cost = self.steps.shared(self.keys).once();
        self.steps.costs(self.keys, self.positions()).iter().for_each(|part| cost.then(part));
        cost
    }

    /// What crosses the channel of linear layers on masks.
    pub fn cost_of_masks(&self) -> Cost {
        self.steps.ahead(self.keys, self.positions()).into_iter().sum()
    }

    /// Both parties' outcomes of a session of one micro-batch.
    pub fn run(&self, seats: [Seat; 2]) -> [Result<Outcome, Error>; 2] {
        both(seats, |seat| {
            let party = seat.party;
            let (mut session, masks) = seat.session_with_masks(Arc::clone(&self.steps), self.keys)?;
            let weights = (party == Party::Server).then_some(self.weights);
            let batch = session.begin(self.positions())?;
            beside(batch, masks, weights, || (), |batch| go_through(batch, weights, self.input(party)))
        })
    }

    /// One micro-batch of a session that is prepared for these steps.
    pub fn go_through(&self, party: Party, session: &mut Session) -> Result<Outcome, Error> {
        let weights = (party == Party::Server).then_some(self.weights);
        go_through(session.begin(self.positions())?, weights, self.input(party))
    }

    /// The client's share of its inputs is the inputs, the server's zero.
    fn input(&self, party: Party) -> Vec<u64> {
        let bits = self.steps.function().values[0].ty.bits;
        match party {
            Party::Client => self.inputs.iter().map(|x| wrap(*x, bits)).collect(),
            Party::Server => vec![0; self.inputs.len()],
        }
    }
}

/// What `run` makes of a micro-batch while its linear layers are run on masks, if they are. If
/// either fails, `failed` ends the other's wait for the peer.
pub fn beside<T>(
    mut batch: MicroBatch<'_>,
    mut masks: impl DerefMut<Target = dyn Channel> + Send,
    weights: Option<&Weights>,
    failed: impl Fn() + Sync,
    run: impl FnOnce(MicroBatch<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let Some(ahead) = batch.ahead() else { return run(batch) };
    let (steps, failed) = (Arc::clone(batch.steps()), &failed);
    std::thread::scope(|scope| {
        let made =
            scope.spawn(move || ahead.run(&mut *masks, &steps, |_| Ok::<_, Error>(weights)).inspect_err(|_| failed()));
        let outcome = run(batch).inspect_err(|_| failed());
        made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        outcome
    })
}

/// A micro-batch through all steps of its function, from this party's share of the input.
pub fn go_through(batch: MicroBatch<'_>, weights: Option<&Weights>, input: Vec<u64>) -> Result<Outcome, Error> {
    go_through_with(batch, weights, input, |_, _| ())
}

/// [`go_through`] of a party that may change its share of each value before anything else is
/// computed of it.
pub fn go_through_with(
    mut batch: MicroBatch<'_>,
    weights: Option<&Weights>,
    mut input: Vec<u64>,
    mut change: impl FnMut(ValueId, &mut [u64]),
) -> Result<Outcome, Error> {
    let steps = Arc::clone(batch.steps());
    let (mut shares, mut revealed) = (Vec::<Vec<u64>>::new(), None);
    for (id, value) in steps.function().iter() {
        let operands: Vec<&[u64]> = value.operands.iter().map(|v| shares[v.index()].as_slice()).collect();
        let mut share = match value.op {
            Op::Input(_) => std::mem::take(&mut input),
            Op::Reveal(_) => {
                revealed = batch.reveal(id, operands[0])?;
                Vec::new()
            }
            // The client's alone, when the session is over.
            Op::Check => Vec::new(),
            _ => batch.run(id, weights, &operands)?,
        };
        change(id, &mut share);
        shares.push(share);
    }
    Ok(Outcome { shares, revealed })
}

/// The elements of a value that both outcomes have a share of.
pub fn opened(id: ValueId, ty: &TensorType, client: &Outcome, server: &Outcome) -> Vec<i64> {
    let shares = client.shares[id.index()].iter().zip(&server.shares[id.index()]);
    shares.map(|(c, s)| signed(c.wrapping_add(*s), ty.bits)).collect()
}
