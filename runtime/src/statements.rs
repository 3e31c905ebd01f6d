//! What an accepted batch says about its server, in words.

use crate::Verdict;

/// What the client claims, on which statements rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The honest model's accuracy.
    Accuracy,
    /// How far a value may be off.
    Tolerance,
    /// The largest share of a label.
    LargestShare,
}

/// On what the statements rest, as the beginning of a sentence that they end. `named` says, in
/// brackets, what the user calls a claim.
pub fn assumption(verdict: &Verdict, named: impl Fn(Claim) -> String) -> String {
    // The claim as it was made, without the noise of a product of floats.
    let accuracy = (verdict.accuracy_claimed * 1e11).round() / 1e9;
    let share = (verdict.largest_share * 1000.0).ceil() / 10.0;
    let (right, shared) = match verdict.tolerance {
        Some(tolerance) => (
            format!("within {tolerance}{}", named(Claim::Tolerance)),
            format!("no value is as near to more than {share} % of them"),
        ),
        None => ("right".into(), format!("no label is on more than {share} %")),
    };
    let probes = if verdict.probes_total > 0 { ", the probes' earlier answers were the honest model's" } else { "" };
    format!(
        "If the honest model is {right} on at least {accuracy} % of inputs{}, {shared}{}, and queries and public samples are \
         independent draws of one kind that the server never saw{probes}, then in this session",
        named(Claim::Accuracy),
        named(Claim::LargestShare),
    )
}

/// How the answers were that the client knew.
pub fn known(verdict: &Verdict) -> String {
    let Verdict { public_correct, public_total, tolerated, probes_correct, probes_total, .. } = verdict;
    let probes = match probes_total {
        0 => String::new(),
        total => format!(", {probes_correct} of {total} probes as before"),
    };
    format!("{public_correct} of {public_total} public samples correct, {tolerated} errors tolerated{probes}")
}

/// Why a batch was rejected, as phrases: each of its checks that failed. None of an accepted one.
pub fn objections(verdict: &Verdict) -> Vec<&'static str> {
    let errors = verdict.public_total.saturating_sub(verdict.public_correct);
    let checks = [
        (verdict.consistent, "copies of a query got different answers, or answers that there are not"),
        (errors <= verdict.tolerated, "too many public samples were answered wrongly"),
        (verdict.probes_correct >= verdict.probes_total, "a probe was answered otherwise than before"),
    ];
    checks.into_iter().filter(|(passed, _)| !passed).map(|(_, objection)| objection).collect()
}

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
    let what = if verdict.tolerance.is_some() { "value" } else { "label" };
    let far = verdict.tolerance.map_or(String::new(), |tolerance| format!(" by more than {}", 2.0 * tolerance));
    let comma = if far.is_empty() { "," } else { "" };
    row(
        but_for(verdict.lambda_achieved_bits),
        &format!("at chosen positions every {what} changed{far}{comma} where the honest model is right"),
    );
    row(but_for(verdict.forced_label_bits), &format!("at chosen positions one {what} forced"));
    row(
        but_for(verdict.constant_label_bits.min(verdict.random_labels_bits)),
        &format!("one {what} for all inputs, or {what}s at random"),
    );
    if verdict.tolerance.is_some() {
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
    if verdict.servers > 1 {
        let text = format!("one of the {0} servers errs up to {0} times as often on its part", verdict.servers);
        row("not excluded".into(), &text);
    }
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
            row(
                "not verified".into(),
                &format!("logits, but for which is the largest: equal in all copies{probes}, no more"),
            );
        }
        _ => {}
    }
    all
}
