//! `TreeEnsembleClassifier`, `TreeEnsembleRegressor` and `TreeEnsemble`.

use std::sync::Arc;

use ndarray::Array2;
use tract_onnx::pb::NodeProto;

use super::super::call::{Call, Kind, Made, Wire};
use super::ask::Ask;
use super::attributes::Attributes;
use super::ensemble::{Arena, Branch, Ensemble, Mode, Names};
use super::label;
use super::linear::{keeps_order, probabilities};
use crate::nn::trees::{Test, Trees};
use crate::nn::{NodeId, Op};

/// The label, and a score for each class.
pub(in super::super) fn tree_classifier(call: &mut Call) -> Result<Vec<Wire>, String> {
    let node = call.node;
    let attributes = Attributes(node);
    let names = attributes.labels("classlabels_int64s", "classlabels_strings")?;
    let classes = names.len();
    if classes < 2 {
        return Err(format!("it has {classes} classes"));
    }
    let ensemble = old(node, "class", classes)?;
    let base = attributes.numbers("base_values", false)?;
    let post = attributes.text("post_transform", "NONE")?;
    keeps_order(post)?;
    let scores = if classes == 2 { two(&ensemble, &base)? } else { several(&ensemble, &base, classes)? };
    label::rename(call, names)?;
    let decided = grown(call, &ensemble, &scores.deciding)?;
    let label = label::best(call, decided);
    let probable = grown(call, &ensemble, &scores.given)?;
    // Probabilities already are none of a logistic function's.
    let post = if scores.probabilities { "NONE" } else { post };
    Ok(vec![Wire::Data(label, Kind::INDEX), probabilities(call, probable, post)])
}

/// Sums for targets.
pub(in super::super) fn tree_regressor(call: &mut Call) -> Made {
    let node = call.node;
    let attributes = Attributes(node);
    let targets = extent(attributes.int("n_targets", 1)?)?;
    let ensemble = old(node, "target", targets)?;
    let base = attributes.numbers("base_values", false)?;
    let aggregate = attributes.text("aggregate_function", "SUM")?;
    let post = attributes.text("post_transform", "NONE")?;
    regression(call, &ensemble, &base, targets, aggregate, post)
}

/// Sums for targets, as operator set 5 writes trees.
pub(in super::super) fn tree_ensemble(call: &mut Call) -> Made {
    let node = call.node;
    let attributes = Attributes(node);
    let targets = extent(attributes.int("n_targets", 1)?)?;
    let ensemble = new(node, targets)?;
    let named = |names: &[&'static str], at: i64| {
        usize::try_from(at).ok().and_then(|at| names.get(at)).copied().ok_or_else(|| format!("there is no choice {at}"))
    };
    let aggregate = named(&["AVERAGE", "SUM", "MIN", "MAX"], attributes.int("aggregate_function", 1)?)?;
    let post = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"];
    let post = named(&post, attributes.int("post_transform", 0)?)?;
    regression(call, &ensemble, &[], targets, aggregate, post)
}

fn regression(call: &mut Call, ensemble: &Ensemble, base: &[f64], targets: usize, aggregate: &str, post: &str) -> Made {
    let trees = ensemble.forest.extent().map_or(1, |extent| extent.trees);
    if !base.is_empty() && base.len() != targets {
        return Err(format!("{} base values for {targets} targets", base.len()));
    }
    let base = |target: usize| base.get(target).copied().unwrap_or(0.0);
    let sums = |factor: f64| {
        let rows = (0..targets).map(|target| Row { from: vec![(target, factor)], base: base(target) });
        rows.collect::<Vec<Row>>()
    };
    let y = match aggregate {
        "SUM" => grown(call, ensemble, &sums(1.0))?,
        "AVERAGE" => grown(call, ensemble, &sums(1.0 / trees as f64))?,
        "MIN" | "MAX" => {
            let base: Vec<f64> = (0..targets).map(base).collect();
            extremes(call, ensemble, &base, if aggregate == "MAX" { 1.0 } else { -1.0 })?
        }
        other => return Err(format!("its aggregate_function {other:?} is not known")),
    };
    // onnxruntime leaves a single target as it is, whatever logistic function or softmax is asked
    // for.
    if post == "NONE" || targets == 1 && matches!(post, "LOGISTIC" | "SOFTMAX" | "SOFTMAX_ZERO") {
        return Ok(y);
    }
    match probabilities(call, y, post) {
        Wire::Data(y, _) => Ok(y),
        _ => Err(format!("its post_transform {post:?} is not supported")),
    }
}

/// For each target the largest, or with `sign` -1 the smallest, of what the trees give it, and its
/// base: one result for each target and tree, then a maximum over the trees.
fn extremes(call: &mut Call, ensemble: &Ensemble, base: &[f64], sign: f64) -> Made {
    let trees = ensemble.trees();
    let count = trees.len();
    let mut leaves = Array2::zeros((base.len() * count, ensemble.leaves.len()));
    for target in 0..base.len() {
        let given = |leaf: usize| {
            let own = ensemble.leaves[leaf].iter().filter(|(of, _)| *of == target);
            own.map(|(_, x)| sign * x).reduce(f64::max)
        };
        // A leaf that gives nothing does not count: as little as every sample gets from some tree.
        let whole = trees.iter().filter(|tree| (*tree).clone().all(|leaf| given(leaf).is_some()));
        let least = whole.map(|tree| tree.clone().filter_map(given).fold(f64::INFINITY, f64::min));
        let least = least.fold(f64::NEG_INFINITY, f64::max);
        let nothing = (0..ensemble.leaves.len()).all(|leaf| given(leaf).is_none());
        if !nothing && least == f64::NEG_INFINITY {
            return Err(format!(
                "only some leaves give target {target} a number, and the {} depends on which",
                if sign > 0.0 { "maximum" } else { "minimum" }
            ));
        }
        for (row, tree) in trees.iter().enumerate() {
            for leaf in tree.clone() {
                leaves[[target * count + row, leaf]] = if nothing { 0.0 } else { given(leaf).unwrap_or(least) };
            }
        }
    }
    let bases = base.iter().flat_map(|base| std::iter::repeat_n(sign * base, count)).collect();
    let all = planted(call, ensemble, leaves, bases)?;
    let all = call.b.reshape(all, &[base.len(), count]);
    let most = if count > 1 { call.b.pool_rows(Op::MaxPool, all) } else { all };
    let most = if sign > 0.0 { most } else { call.b.scale(-1.0, most) };
    Ok(call.b.reshape(most, &[1, base.len()]))
}

/// One result: a sum of what leaves add to results of the operator, each with a factor, and a
/// constant.
struct Row {
    from: Vec<(usize, f64)>,
    base: f64,
}

/// What a classifier's leaves become.
struct Scores {
    /// Of which the largest, the first of equal ones, is the label.
    deciding: Vec<Row>,
    /// What the second output is made of.
    given: Vec<Row>,
    /// Whether these are probabilities, which no transform changes.
    probabilities: bool,
}

/// Two classes. The label is the second class if one score is above a threshold: which and what,
/// onnxruntime takes from the layout of weights and base values.
fn two(ensemble: &Ensemble, base: &[f64]) -> Result<Scores, String> {
    if base.len() > 2 {
        return Err(format!("{} base values for two classes", base.len()));
    }
    let weights = || ensemble.leaves.iter().flatten();
    let [first, second] = [0, 1].map(|class| weights().any(|(of, _)| *of == class));
    let positive = weights().all(|(_, weight)| *weight >= 0.0);
    let threshold = if first != second && positive { 0.5 } else { 0.0 };
    let row = |from: &[(usize, f64)], base: f64| Row { from: from.to_vec(), base };
    let own = |class: usize| base.get(class).copied().unwrap_or(0.0);
    // Whether the second class has a score depends on the leaves that are reached, unless every
    // leaf of some tree has one for it.
    if first && second && !always(ensemble, 1) {
        return Err("only some leaves have a score of the second class, and the label depends on which".into());
    }
    let score = match (second, base.len()) {
        (true, 2) => row(&[(0, 1.0)], own(1)),
        (true, _) => row(&[(1, 1.0)], 0.0),
        (false, _) => row(&[(0, 1.0)], own(0)),
    };
    let decided = Row { from: score.from.clone(), base: score.base - threshold };
    let given = match (second, base.len()) {
        // The score, and what is left of it.
        (false, 0 | 1) if positive => vec![row(&[(0, -1.0)], 1.0 - own(0)), score],
        (false, 0 | 1) => vec![row(&[(0, -1.0)], -own(0)), score],
        (false, _) => vec![score, row(&[], 0.0)],
        (true, 2) => vec![row(&[(0, -1.0)], -own(1)), score],
        (true, _) => vec![row(&[(0, 1.0)], own(0)), score],
    };
    Ok(Scores { deciding: vec![row(&[], 0.0), decided], given, probabilities: !second && positive && base.len() < 2 })
}

/// More classes: the largest score, the first of equal ones, of classes that have one.
fn several(ensemble: &Ensemble, base: &[f64], classes: usize) -> Result<Scores, String> {
    if base.len() > classes {
        return Err(format!("{} base values for {classes} classes", base.len()));
    }
    let weights = || ensemble.leaves.iter().flatten();
    let positive = weights().all(|(_, weight)| *weight >= 0.0);
    let plain = |class: usize| Row { from: vec![(class, 1.0)], base: base.get(class).copied().unwrap_or(0.0) };
    // Lower than every sum.
    let lowest = ensemble.leaves.iter().map(|leaf| leaf.iter().map(|(_, w)| w.abs()).sum::<f64>()).fold(0.0, f64::max);
    let trees = ensemble.forest.extent().map_or(1, |extent| extent.trees) as f64;
    let bases = base.iter().fold(0f64, |most, base| most.max(base.abs()));
    let absent = -(trees * lowest + bases + 1.0);
    let deciding = (0..classes).map(|class| {
        let scored = class < base.len() || always(ensemble, class);
        match scored || positive {
            true if scored || weights().any(|(of, _)| *of == class) => Ok(plain(class)),
            _ if weights().all(|(of, _)| *of != class) => Ok(Row { from: vec![], base: absent }),
            _ => Err(format!("only some leaves have a score of class {class}, and the label depends on which")),
        }
    });
    let deciding = deciding.collect::<Result<Vec<Row>, String>>()?;
    Ok(Scores { deciding, given: (0..classes).map(plain).collect(), probabilities: false })
}

/// Whether every leaf of some tree has a score of this class, so that every sample has one.
fn always(ensemble: &Ensemble, class: usize) -> bool {
    let scored = |leaf: usize| ensemble.leaves[leaf].iter().any(|(of, _)| *of == class);
    ensemble.trees().into_iter().any(|mut tree| tree.all(scored))
}

/// The trees on the node's input, with these results, `[1, rows]`.
fn grown(call: &mut Call, ensemble: &Ensemble, rows: &[Row]) -> Made {
    let mut leaves = Array2::zeros((rows.len(), ensemble.leaves.len()));
    for (at, leaf) in ensemble.leaves.iter().enumerate() {
        for (result, row) in rows.iter().enumerate() {
            let of = |of: usize| leaf.iter().filter(|(class, _)| *class == of).map(|(_, weight)| weight).sum::<f64>();
            leaves[[result, at]] = row.from.iter().map(|(class, factor)| factor * of(*class)).sum();
        }
    }
    let base = rows.iter().map(|row| row.base).collect();
    let y = planted(call, ensemble, leaves, base)?;
    Ok(call.b.reshape(y, &[1, rows.len()]))
}

/// The trees on the node's input, with these leaves `[results, leaves]` and bases. Where the input
/// is made of exact functions of the sample, they test the sample. Integers are float32 to trees.
fn planted(call: &mut Call, ensemble: &Ensemble, leaves: Array2<f64>, base: Vec<f64>) -> Made {
    let x = call.data(0)?;
    let n = call.shape(x).iter().product::<usize>();
    if let Some(ask) = ensemble.asks.iter().find(|ask| ask.feature >= n) {
        return Err(format!("it tests feature {} of {n}", ask.feature));
    }
    let columns = call.tabular.columns.get(&x).cloned();
    let (x, tests): (NodeId, Vec<Test>) = match columns {
        Some(columns) => {
            let columns = if columns.are_whole() { Arc::new(columns.narrowed()) } else { columns };
            let tests = ensemble.asks.iter().map(|ask| columns.each[ask.feature].pulled_back(ask)).collect();
            let input = NodeId(0);
            let elements = call.b.graph.node(input).len();
            (call.b.reshape(input, &[elements]), tests)
        }
        None => (call.b.reshape(x, &[n]), ensemble.asks.iter().map(Ask::test).collect()),
    };
    let results = base.len();
    let trees = Trees { forest: ensemble.forest.clone(), tests, leaves, base };
    Ok(call.b.push(Op::Trees(Arc::new(trees)), vec![x], [results]))
}

/// Trees as operator sets 1 to 4 write them; `what` is what leaves' weights are for.
fn old(node: &NodeProto, what: &str, results: usize) -> Result<Ensemble, String> {
    let attributes = Attributes(node);
    let ids = |name: &str| attributes.ints(&format!("nodes_{name}"));
    let (trees, nodes, features) = (ids("treeids")?, ids("nodeids")?, ids("featureids")?);
    let (yes, no, missing) = (ids("truenodeids")?, ids("falsenodeids")?, ids("missing_value_tracks_true")?);
    let modes = attributes.texts("nodes_modes")?;
    let thresholds = attributes.numbers("nodes_values", true)?;
    let n = trees.len();
    let lengths = [nodes.len(), features.len(), yes.len(), no.len(), modes.len(), thresholds.len()];
    if n == 0 || lengths.iter().any(|length| *length != n) || !(missing.is_empty() || missing.len() == n) {
        return Err("its lists of nodes differ in length".into());
    }
    let mut names = Names::default();
    let mut arena = Arena::default();
    let mut begun = std::collections::HashSet::new();
    for at in 0..n {
        names.insert(trees[at], nodes[at], at)?;
        if begun.insert(trees[at]) {
            arena.roots.push(at);
        }
    }
    let missing = |at: usize| missing.get(at).is_some_and(|missing| *missing != 0);
    for at in 0..n {
        let mode = match modes[at] {
            "LEAF" => {
                arena.branches.push(Branch::Leaf(Vec::new()));
                continue;
            }
            "BRANCH_LEQ" => Mode::LessOrEqual,
            "BRANCH_LT" => Mode::Less,
            "BRANCH_GTE" => Mode::GreaterOrEqual,
            "BRANCH_GT" => Mode::Greater,
            "BRANCH_EQ" => Mode::Equal,
            "BRANCH_NEQ" => Mode::NotEqual,
            other => return Err(format!("a node of it has the mode {other:?}, which is not known")),
        };
        let [yes, no] = [yes[at], no[at]].map(|child| names.place(trees[at], child));
        let feature = extent_or_zero(features[at])?;
        let (threshold, missing) = (thresholds[at], missing(at));
        arena.branches.push(Branch::Node { feature, mode, threshold, missing, yes: yes?, no: no? });
    }
    let of = |name: &str| attributes.ints(&format!("{what}_{name}"));
    let (of_trees, of_nodes, of_results) = (of("treeids")?, of("nodeids")?, of("ids")?);
    let weights = attributes.numbers(&format!("{what}_weights"), false)?;
    if [of_trees.len(), of_nodes.len(), of_results.len()].iter().any(|length| *length != weights.len()) {
        return Err("its lists of weights differ in length".into());
    }
    for (at, weight) in weights.into_iter().enumerate() {
        let result = extent_or_zero(of_results[at])?;
        if result >= results {
            return Err(format!("a leaf of it has a weight for number {result} of {results}"));
        }
        match &mut arena.branches[names.place(of_trees[at], of_nodes[at])?] {
            Branch::Leaf(leaf) => leaf.push((result, weight)),
            // A weight of an inner node is nobody's.
            Branch::Node { .. } => {}
        }
    }
    arena.grow()
}

/// Trees as operator set 5 writes them: nodes first, then leaves.
fn new(node: &NodeProto, results: usize) -> Result<Ensemble, String> {
    let attributes = Attributes(node);
    let ids = |name: &str| attributes.ints(&format!("nodes_{name}"));
    let (features, yes, no) = (ids("featureids")?, ids("truenodeids")?, ids("falsenodeids")?);
    let (yes_leafs, no_leafs, missing) = (ids("trueleafs")?, ids("falseleafs")?, ids("missing_value_tracks_true")?);
    let needed = |name: &str| attributes.tensor(name, true)?.ok_or_else(|| format!("it has no {name}"));
    let (splits, modes) = (needed("nodes_splits")?, needed("nodes_modes")?);
    let n = features.len();
    let lengths = [yes.len(), no.len(), yes_leafs.len(), no_leafs.len(), splits.len(), modes.len()];
    if lengths.iter().any(|length| *length != n) || !(missing.is_empty() || missing.len() == n) {
        return Err("its lists of nodes differ in length".into());
    }
    // Members of all nodes that ask for some, one set after the other, each ended by NaN.
    let members = member_sets(node)?;
    let mut members = members.into_iter();
    let (targets, weights) = (attributes.ints("leaf_targetids")?, needed("leaf_weights")?);
    if targets.len() != weights.len() || weights.iter().any(|weight| !weight.is_finite()) {
        return Err("its leaves have no target and finite weight each".into());
    }
    let leaf = |id: i64| {
        usize::try_from(id)
            .ok()
            .filter(|id| *id < weights.len())
            .map(|id| n + id)
            .ok_or_else(|| format!("there is no leaf {id}"))
    };
    let inner = |id: i64| usize::try_from(id).ok().filter(|id| *id < n).ok_or_else(|| format!("there is no node {id}"));
    let child = |id: i64, is_leaf: i64| if is_leaf != 0 { leaf(id) } else { inner(id) };
    let mut arena = Arena::default();
    for at in 0..n {
        let mode = match modes[at] as i64 {
            0 => Mode::LessOrEqual,
            1 => Mode::Less,
            2 => Mode::GreaterOrEqual,
            3 => Mode::Greater,
            4 => Mode::Equal,
            5 => Mode::NotEqual,
            6 => Mode::Member(members.next().ok_or("a node of it asks for members that it does not have")?),
            other => return Err(format!("a node of it has the mode {other}, which is not known")),
        };
        let feature = extent_or_zero(features[at])?;
        let missing = missing.get(at).is_some_and(|missing| *missing != 0);
        let (yes, no) = (child(yes[at], yes_leafs[at])?, child(no[at], no_leafs[at])?);
        arena.branches.push(Branch::Node { feature, mode, threshold: splits[at], missing, yes, no });
    }
    for (target, weight) in targets.iter().zip(&weights) {
        let target = extent_or_zero(*target)?;
        if target >= results {
            return Err(format!("a leaf of it has a weight for number {target} of {results}"));
        }
        arena.branches.push(Branch::Leaf(vec![(target, *weight)]));
    }
    for root in attributes.ints("tree_roots")? {
        // A tree of one leaf is a node both of whose children are that leaf.
        let at = inner(*root)?;
        let alike = yes[at] == no[at] && yes_leafs[at] != 0 && no_leafs[at] != 0;
        arena.roots.push(if alike { leaf(yes[at])? } else { at });
    }
    if arena.roots.is_empty() {
        return Err("it has no tree".into());
    }
    arena.grow()
}

fn member_sets(node: &NodeProto) -> Result<Vec<Vec<f64>>, String> {
    let Some(attribute) = node.attribute.iter().find(|attribute| attribute.name == "membership_values") else {
        return Ok(Vec::new());
    };
    let proto = attribute.t.as_ref().ok_or("membership_values holds nothing")?;
    let tensor = super::super::tensors::load(proto, None).map_err(|why| format!("membership_values {why}"))?;
    let wide = tensor.cast_to::<f64>().map_err(|e| e.to_string())?;
    let view = wide.to_plain_array_view::<f64>().map_err(|e| e.to_string())?;
    let values: Vec<f64> = view.iter().copied().collect();
    let mut sets: Vec<Vec<f64>> = values.split(|value| value.is_nan()).map(<[f64]>::to_vec).collect();
    if sets.last().is_some_and(Vec::is_empty) {
        sets.pop();
    }
    Ok(sets)
}

fn extent(n: i64) -> Result<usize, String> {
    usize::try_from(n).ok().filter(|n| (1..1 << 20).contains(n)).ok_or_else(|| format!("it has {n} results"))
}

fn extent_or_zero(n: i64) -> Result<usize, String> {
    usize::try_from(n).map_err(|_| format!("it names number {n}"))
}
