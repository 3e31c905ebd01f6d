//! What an accepted batch says about its server, in words.

use crate::Verdict;

/// Something a server may have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Whether it is excluded, and how surely.
    pub status: String,
    /// What it is.
    pub server: String,
}

/// What an accepted batch excludes, what not, and what was not looked at. All of it rests on what
/// the client claims in its policy.
pub fn statements(verdict: &Verdict) -> Vec<Statement> {
    let mut all = Vec::new();
    let mut row = |status: String, server: &str| all.push(Statement { status, server: server.into() });
    let but_for = |bits: f64| match bits {
        f64::INFINITY => "excluded".to_owned(),
        bits if bits < 1.0 => "not excluded".to_owned(),
        bits => format!("excluded but for 2^-{:.1}", (bits * 10.0).floor() / 10.0),
    };
    let far = |tolerance: f64| format!("by more than {} ", 2.0 * tolerance);
    let (what, far) = match verdict.tolerance {
        Some(tolerance) => ("value", far(tolerance)),
        None => ("label", String::new()),
    };
    row(
        but_for(verdict.lambda_achieved_bits),
        &format!("at chosen positions every {what} changed {far}where the honest model is right")
            .replace("d where", "d, where"),
    );
    row(but_for(verdict.forced_label_bits), &format!("at chosen positions one {what} forced"));
    row(
        but_for(verdict.constant_label_bits.min(verdict.random_labels_bits)),
        &format!("one {what} for all inputs, or {what}s at random"),
    );
    if !far.is_empty() {
        row("not excluded".into(), "smaller changes, of all values too, as long as public ones stay near enough");
    }
    match verdict.smallest_eps_99 {
        Some(eps) => {
            let percent = (eps * 1000.0).ceil() / 10.0;
            row("excluded with 99 %".into(), &format!("errors on {percent:.1} % or more of all such inputs"));
            row(
                "not excluded".into(),
                &format!("errors on less than {percent:.1} %, even on inputs of the server's choice"),
            );
        }
        None => row("not excluded".into(), "errors on any share of inputs: too few public samples are new evidence"),
    }
    row("not excluded".into(), "errors that the honest model makes; another model that is right as often");
    match (verdict.revealed.strip_prefix("topk:"), verdict.ranks_verified) {
        (Some(k), known) if k.parse().is_ok_and(|k: usize| k > known) => {
            let probes = if verdict.probes_total > 0 { ", only compared with probes" } else { "" };
            row(
                "not verified".into(),
                &format!("ranks beyond the first {known} of {k}: public labels do not name them{probes}"),
            );
        }
        (None, _) if verdict.revealed == "logits" => {
            let probes = if verdict.probes_total > 0 { ", and compared with probes" } else { "" };
            row("not verified".into(), &format!("logits beyond their largest: equal in all copies{probes}, no more"));
        }
        _ => {}
    }
    all
}
