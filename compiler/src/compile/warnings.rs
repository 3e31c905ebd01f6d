//! What of a compilation deserves attention.

use fusion_ir::input::Clipped;

use super::Options;
use crate::agreement::{Agreement, Reference};
use crate::build::MAX_NAMED;
use crate::import::{self, Imported, Part};
use crate::lower::{Formats, LayerFormat, ProductFormat};
use crate::nn::{Graph, Op, eval, trees};
use crate::quantise::calibrate::{Calibration, MAX_SAMPLES};
use crate::quantise::margin;
use crate::setting::Setting;

/// Below this agreement there is a warning.
const GOOD_AGREEMENT: f64 = 0.99;

/// The calibration samples that the input's format does not hold, because others decided on it.
pub(super) fn clipped(clipped: &[Clipped]) -> Vec<String> {
    let mut named: Vec<String> = clipped.iter().take(MAX_NAMED).map(|found| format!("calibration {found}")).collect();
    if clipped.len() > MAX_NAMED {
        named.push(format!("{} more calibration samples like that", clipped.len() - MAX_NAMED));
    }
    named
}

pub(super) fn warnings(
    calibration: &Calibration,
    formats: &Formats,
    agreement: &Agreement,
    macs: usize,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Reference::Imported(why) = &agreement.reference {
        warnings.push(format!(
            "tract cannot run this file ({why}), so nobody has checked what it means: give what another runtime answers with {}",
            Setting::Expected
        ));
    }
    let (used, total) = (calibration.samples.len(), calibration.total);
    if used < total {
        let why = match used {
            MAX_SAMPLES => "more would change little".into(),
            _ => format!("each takes {} million multiply-accumulates", macs / 1_000_000),
        };
        warnings.push(format!("of {total} calibration samples the first {used} are used: {why}"));
    }
    if agreement.share() < GOOD_AGREEMENT {
        warnings.push(format!("only {agreement}"));
    }
    if !calibration.real {
        warnings.push(format!(
            "number formats were calibrated on made-up samples: expect wrong answers, and give real ones with {}",
            Setting::Calibrate
        ));
    } else if calibration.samples.len() < 32 {
        let (n, margin) = (calibration.samples.len(), margin(calibration.samples.len()));
        warnings.push(format!(
            "only {n} calibration samples: number formats hold {margin:.1} times their values, and an unusual input may need more; evaluation finds such inputs"
        ));
    }
    for layer in formats.layers.iter().filter(|layer| layer.weight_bits < 8) {
        let LayerFormat { node, weight_bits, .. } = layer;
        warnings.push(format!("node {node:?} has only {weight_bits}-bit weights, to fit its accumulator"));
    }
    warnings.extend(of_products(&formats.products));
    warnings
}

/// Products of secret matrices whose factors lost all the bits that they may lose and still need a
/// wider ring than their protocols do well with.
fn of_products(products: &[ProductFormat]) -> Vec<String> {
    let wide = products.iter().filter(|product| product.ring_bits > product.most_bits);
    let said = |ProductFormat { node, factor_bits: [a, b], ring_bits, most_bits, .. }: &ProductFormat| {
        format!(
            "node {node:?} multiplies secret matrices of {a} and {b} bits in a ring of {ring_bits}: where sums fit \
             {most_bits} bits it takes fewer bytes"
        )
    };
    wide.map(said).collect()
}

/// That a public prefix was asked for and there is none.
pub(super) fn unused_prefix(options: &Options, network: &Imported) -> Vec<String> {
    let nothing = options.part.public_prefix && network.prefix.is_none();
    let why = "a public prefix was asked for, but the model begins with nothing that the client could do alone";
    if nothing { vec![why.into()] } else { Vec::new() }
}

/// That the scores which the user chose say another class than the model's own label, if they do:
/// some exporters write scores in the wrong order.
pub(super) fn unlike_own_label(options: &Options, scores: &Imported, calibration: &Calibration) -> Option<String> {
    let part = options.part();
    let chosen = part.output.clone().filter(|_| scores.tabular && part.row.is_none() && !part.values)?;
    let part = Part { output: None, ..part };
    let own = import::read_part(&options.model, options.input_shape.as_deref(), &part, options.memory).ok()?;
    if own.graph.input_shape() != scores.graph.input_shape() {
        return None;
    }
    let labels = |network: &Imported| -> Vec<usize> {
        eval::outputs(&network.graph, &calibration.samples).iter().map(|scores| eval::argmax(scores)).collect()
    };
    let (labels, own) = (labels(scores), labels(&own));
    let unlike = labels.iter().zip(&own).filter(|(a, b)| a != b).count();
    // Fewer may be ties and roundings.
    (unlike > 1 && unlike * 100 > labels.len()).then(|| {
        format!(
            "for {unlike} of {} calibration samples the largest of {chosen:?} is another class than the model's own label: \
             are its columns in the order of the classes, and is the label the largest of them? Without {} the label decides",
            labels.len(),
            Setting::Output
        )
    })
}

/// That trees do not compare the sample itself, which is exact.
pub(super) fn rounded_trees(graph: &Graph) -> Option<String> {
    let node = graph.nodes.iter().find(|node| matches!(node.op, Op::Trees(_)))?;
    (!trees::decide_alone(graph)).then(|| {
        format!(
            "the trees of node {:?} compare in fixed point, since they read what other layers compute or share the input \
             with layers: rows that lie on a threshold may get another label than in float",
            node.name
        )
    })
}

/// That one label for all samples would be right more often than the model, if it is: then labels
/// are probably numbered in another order.
pub(super) fn fewer_than_one_label(labels: &[i64], right: usize) -> Option<String> {
    let count = |label: &i64| labels.iter().filter(|other| *other == label).count();
    let most = labels.iter().max_by_key(|label| count(label))?;
    (right < count(most)).then(|| {
        format!(
            "{right} of {} calibration samples have the given label, and label {most} alone is given to {}: are {} in the \
             order of the model's own?",
            labels.len(),
            count(most),
            Setting::Classes
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_in_wide_rings_are_named() {
        let said = |ring_bits| {
            let (node, factor_bits, lost_bits) = ("scores".into(), [11, 12], [3, 0]);
            of_products(&[ProductFormat { node, factor_bits, lost_bits, ring_bits, most_bits: 33 }])
        };
        assert_eq!(said(33), [""; 0]);
        let wide = said(34);
        assert!(
            matches!(&wide[..], [one] if one.contains("\"scores\"") && one.contains("11 and 12 bits in a ring of 34"))
        );
    }
}
