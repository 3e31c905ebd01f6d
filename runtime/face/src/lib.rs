#![doc = include_str!("../README.md")]

mod compiler;
mod cost;

pub use compiler::Compiler;
pub use cost::{LayerCost, PositionCost, cost_page, position_cost, program_page};
pub use fusion_backends::{Channel, Error as PeerError};
pub use fusion_compiler::compile::{Compiled, Summary};
pub use fusion_compiler::passes::select::Choice;
pub use fusion_compiler::quantise::Precision;
pub use fusion_compiler::{Error as CompileError, Unsupported, setting};
pub use fusion_estimate::{Machine, Network};
pub use fusion_ir::Backend;
pub use fusion_ir::input::Clipped;
pub use fusion_ir::npy;
pub use fusion_ir::op::Reveal;
pub use fusion_ir::plan::{Plan, PlanError, Suggestion};
pub use fusion_ir::soundness::{Forecast, Policy};
pub use fusion_runtime::fusion::{Probe, PublicSample, Row};
pub use fusion_runtime::input::Samples;
pub use fusion_runtime::page::page;
pub use fusion_runtime::party::{Asked, Served, Watch};
pub use fusion_runtime::report::Run;
pub use fusion_runtime::scale::{Fleet, Scaled, scale};
pub use fusion_runtime::service;
pub use fusion_runtime::session::Limits;
pub use fusion_runtime::statements::{Claim, Statement, assumption, known, objections, statements};
pub use fusion_runtime::transport::{
    Connection, Credentials, Dial, Fingerprint, Identity, Lane, Link, Listen, Met, Switch, Tls, in_process, tcp,
};
pub use fusion_runtime::{
    Answered, Answers, Begun, Budget, Client, ClientReport, Error, Event, Flow, Job, Ledger, PlanFile, Server,
    ServerReport, Setting, Shard, Step, Verdict,
};
