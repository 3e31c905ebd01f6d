//! What streams share, and what happens on it: messages and computations.

use fusion_catalogue::{Cost, FRAME_HEADER_BYTES};
use fusion_ir::Party;

use crate::profile::Network;

/// When each party of a stream could go on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ready(pub [f64; 2]);

impl Ready {
    /// When both could.
    pub fn both(&self) -> f64 {
        self.0[0].max(self.0[1])
    }
}

/// What all streams share, by when it is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    network: Network,
    /// By sender.
    link: [f64; 2],
    processors: f64,
}

/// What happens next in a stream.
pub(crate) enum Step {
    Compute(f64),
    Send(Party, u64),
    Exchange([u64; 2]),
}

impl Shared {
    /// Everything is free at zero.
    pub fn new(network: Network) -> Shared {
        Shared { network, link: [0.0; 2], processors: 0.0 }
    }

    /// The next step of a stream.
    pub fn take(&mut self, step: &Step, stream: &mut Ready) {
        match *step {
            // Nothing is waited for.
            Step::Compute(0.0) => {}
            Step::Compute(seconds) => {
                stream.0.iter_mut().for_each(|ready| *ready = ready.max(self.processors) + seconds);
                self.processors = stream.0[0].min(stream.0[1]);
            }
            Step::Send(from, bytes) => {
                let arrival = self.send(from, bytes, stream);
                let receiver = &mut stream.0[from.peer() as usize];
                *receiver = receiver.max(arrival);
            }
            Step::Exchange(bytes) => {
                let parties = [Party::Client, Party::Server];
                let arrivals = parties.map(|from| self.send(from, bytes[from as usize], stream));
                for from in parties {
                    let receiver = &mut stream.0[from.peer() as usize];
                    *receiver = receiver.max(arrivals[from as usize]);
                }
            }
        }
    }

    /// Puts a message on the link; when it arrives.
    fn send(&mut self, from: Party, bytes: u64, stream: &Ready) -> f64 {
        let free = &mut self.link[from as usize];
        *free = free.max(stream.0[from as usize]) + bytes as f64 * self.network.seconds_per_byte();
        *free + self.network.rtt_s() / 2.0
    }
}

/// A computation, then the messages of `cost`.
pub(crate) fn steps(cost: &Cost, computing_s: f64) -> Vec<Step> {
    let mut steps = vec![Step::Compute(computing_s)];
    let mut exchanges = cost.exchanges.iter().peekable();
    let mut messages = cost.messages.iter().enumerate();
    while let Some((place, message)) = messages.next() {
        let bytes = message.payload_bytes + FRAME_HEADER_BYTES;
        // In an exchange the server's message is the next one and leaves before the client's has
        // arrived.
        let exchanged = exchanges.next_if(|other| **other == place + 1).and_then(|_| messages.next());
        steps.push(match exchanged {
            Some((_, other)) => Step::Exchange([bytes, other.payload_bytes + FRAME_HEADER_BYTES]),
            None => Step::Send(message.from, bytes),
        });
    }
    steps
}
