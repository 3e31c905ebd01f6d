//! Einsum of one or two operands, as a product of matrices between moves.

use ndarray::Axis;

use super::super::call::{Call, Made, number};
use super::linear::{self, Operand};
use super::reduce;

/// An operand with a letter for each of its axes.
struct Term {
    labels: Vec<char>,
    operand: Operand,
}

pub(in super::super) fn einsum(call: &mut Call) -> Made {
    let equation: String = call.text("equation").chars().filter(|c| !c.is_whitespace()).collect();
    let n = call.inputs.len();
    let operands: Vec<Operand> = (0..n).map(|i| linear::operand(call, i)).collect::<Result<_, _>>()?;
    let ranks: Vec<usize> = operands.iter().map(|operand| operand.shape(call).len()).collect();
    let (inputs, output) = parse(&equation, &ranks)?;
    let mut terms: Vec<Term> =
        inputs.into_iter().zip(operands).map(|(labels, operand)| Term { labels, operand }).collect();
    let all: Vec<Vec<char>> = terms.iter().map(|term| term.labels.clone()).collect();
    // What one operand has alone is summed first.
    for (i, term) in terms.iter_mut().enumerate() {
        let elsewhere =
            |c: &char| output.contains(c) || all.iter().enumerate().any(|(j, other)| j != i && other.contains(c));
        let kept: Vec<char> = term.labels.iter().copied().filter(|c| elsewhere(c)).collect();
        summed(call, term, &kept)?;
    }
    let found = match terms.len() {
        1 => terms.swap_remove(0),
        2 => {
            let b = terms.swap_remove(1);
            contracted(call, terms.swap_remove(0), b, &output)?
        }
        n => return Err(format!("{n} operands; one or two are supported")),
    };
    let perm: Option<Vec<usize>> = output.iter().map(|c| found.labels.iter().position(|label| label == c)).collect();
    let perm = perm.filter(|perm| perm.len() == found.labels.len()).ok_or("its output has an axis of no operand")?;
    match found.operand {
        Operand::Data(x) => Ok(call.b.transpose(x, &perm)),
        Operand::Const(_) => Err("reads no data".into()),
    }
}

/// The letters of each operand's axes and of the result's. Those of an ellipsis are digits.
fn parse(equation: &str, ranks: &[usize]) -> Result<(Vec<Vec<char>>, Vec<char>), String> {
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation, None),
    };
    let inputs: Vec<&str> = left.split(',').collect();
    if inputs.len() != ranks.len() {
        return Err(format!("equation {equation:?} for {} operands", ranks.len()));
    }
    let own = |part: &str| part.replace("...", "").chars().count();
    let hidden = |part: &str, rank: usize| if part.contains("...") { rank.checked_sub(own(part)) } else { Some(0) };
    let widths: Option<Vec<usize>> = inputs.iter().zip(ranks).map(|(part, rank)| hidden(part, *rank)).collect();
    let widths = widths.ok_or_else(|| format!("equation {equation:?} has too many letters"))?;
    let most = widths.iter().copied().max().unwrap_or(0);
    let digits = |width: usize| (most - width..most).map(|i| char::from(b'0' + i as u8)).collect::<String>();
    if most > 9 {
        return Err("an ellipsis of more than 9 axes".into());
    }
    let letters = |part: &str, width: usize| -> Result<Vec<char>, String> {
        let labels: Vec<char> = part.replacen("...", &digits(width), 1).chars().collect();
        let valid = labels.iter().all(|c| c.is_ascii_alphanumeric());
        let twice = (0..labels.len()).any(|i| labels[..i].contains(&labels[i]));
        match (valid, twice) {
            (true, false) => Ok(labels),
            (true, true) => Err(format!("equation {equation:?}: an axis twice in one operand")),
            _ => Err(format!("equation {equation:?}")),
        }
    };
    let labels: Vec<Vec<char>> =
        inputs.iter().zip(&widths).map(|(part, width)| letters(part, *width)).collect::<Result<_, _>>()?;
    if labels.iter().zip(ranks).any(|(labels, rank)| labels.len() != *rank) {
        return Err(format!("equation {equation:?} for operands of {ranks:?} axes"));
    }
    let output = match right {
        Some(right) => letters(right, most)?,
        // What occurs once, in alphabetical order, behind an ellipsis.
        None => {
            let mut once: Vec<char> = labels.iter().flatten().copied().collect();
            once.sort_unstable();
            let times = |c: &char| labels.iter().flatten().filter(|other| *other == c).count();
            let mut once: Vec<char> = once.iter().copied().filter(|c| c.is_ascii_digit() || times(c) == 1).collect();
            once.dedup();
            once
        }
    };
    Ok((labels, output))
}

/// The operand summed along all axes but `kept`.
fn summed(call: &mut Call, term: &mut Term, kept: &[char]) -> Result<(), String> {
    if kept.len() == term.labels.len() {
        return Ok(());
    }
    let dropped: Vec<char> = term.labels.iter().copied().filter(|c| !kept.contains(c)).collect();
    let operand = std::mem::replace(&mut term.operand, Operand::Const(number(0.0)));
    term.operand = match operand {
        Operand::Const(mut c) => {
            for (i, label) in term.labels.clone().iter().enumerate().rev() {
                if dropped.contains(label) {
                    c = c.sum_axis(Axis(i));
                }
            }
            Operand::Const(c)
        }
        Operand::Data(x) => {
            let shape = call.shape(x);
            let order: Vec<char> = kept.iter().chain(&dropped).copied().collect();
            let x = call.b.transpose(x, &positions(&term.labels, &order)?);
            let extents = sizes(&term.labels, &shape, kept)?;
            let rows = extents.iter().product();
            let matrix = call.b.reshape(x, &[rows, shape.iter().product::<usize>() / rows]);
            let sums = reduce::sums(call, matrix)?;
            Operand::Data(call.b.reshape(sums, &extents))
        }
    };
    term.labels = kept.to_vec();
    Ok(())
}

/// The product of two operands: axes of both are batches if the result has them, else contracted.
fn contracted(call: &mut Call, a: Term, b: Term, output: &[char]) -> Result<Term, String> {
    let (a_shape, b_shape) = (a.operand.shape(call), b.operand.shape(call));
    let both: Vec<char> = a.labels.iter().copied().filter(|c| b.labels.contains(c)).collect();
    if sizes(&a.labels, &a_shape, &both)? != sizes(&b.labels, &b_shape, &both)? {
        return Err(format!("operands of {a_shape:?} and {b_shape:?} do not fit together"));
    }
    let batch: Vec<char> = both.iter().copied().filter(|c| output.contains(c)).collect();
    let inner: Vec<char> = both.iter().copied().filter(|c| !output.contains(c)).collect();
    let rows: Vec<char> = a.labels.iter().copied().filter(|c| !both.contains(c)).collect();
    let columns: Vec<char> = b.labels.iter().copied().filter(|c| !both.contains(c)).collect();
    let count = |labels: &[char], of: &[char], shape: &[usize]| -> Result<usize, String> {
        Ok(sizes(of, shape, labels)?.iter().product())
    };
    let [n, m, k] = [&batch, &rows, &inner].map(|labels| count(labels, &a.labels, &a_shape));
    let (n, m, k, p) = (n?, m?, k?, count(&columns, &b.labels, &b_shape)?);
    let left = ordered(call, a.operand, &positions(&a.labels, &[&batch[..], &rows, &inner].concat())?)?;
    let right = ordered(call, b.operand, &positions(&b.labels, &[&batch[..], &inner, &columns].concat())?)?;
    let (left, right) = if n == 1 {
        (left.reshaped(call, &[m, k])?, right.reshaped(call, &[k, p])?)
    } else {
        (left.reshaped(call, &[n, m, k])?, right.reshaped(call, &[n, k, p])?)
    };
    let y = linear::product(call, left, right)?;
    let labels = [&batch[..], &rows, &columns].concat();
    let mut extents = sizes(&a.labels, &a_shape, &[&batch[..], &rows].concat())?;
    extents.extend(sizes(&b.labels, &b_shape, &columns)?);
    Ok(Term { labels, operand: Operand::Data(call.b.reshape(y, &extents)) })
}

fn ordered(call: &mut Call, operand: Operand, perm: &[usize]) -> Result<Operand, String> {
    Ok(match operand {
        Operand::Data(x) => Operand::Data(call.b.transpose(x, perm)),
        Operand::Const(c) => Operand::Const(c.permuted_axes(perm.to_vec())),
    })
}

fn positions(labels: &[char], wanted: &[char]) -> Result<Vec<usize>, String> {
    let found: Option<Vec<usize>> = wanted.iter().map(|c| labels.iter().position(|label| label == c)).collect();
    found.ok_or_else(|| "an axis of no operand".into())
}

fn sizes(labels: &[char], shape: &[usize], wanted: &[char]) -> Result<Vec<usize>, String> {
    Ok(positions(labels, wanted)?.into_iter().map(|axis| shape[axis]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(equation: &str, ranks: &[usize]) -> Result<(Vec<String>, String), String> {
        let (inputs, output) = parse(equation, ranks)?;
        Ok((inputs.into_iter().map(|c| c.into_iter().collect()).collect(), output.into_iter().collect()))
    }

    #[test]
    fn equations_name_every_axis() {
        assert_eq!(text("bij,bjk->bik", &[3, 3]), Ok((vec!["bij".into(), "bjk".into()], "bik".into())));
        assert_eq!(text("ij,jk", &[2, 2]), Ok((vec!["ij".into(), "jk".into()], "ik".into())));
        assert_eq!(text("...ij,jk->...ik", &[4, 2]), Ok((vec!["01ij".into(), "jk".into()], "01ik".into())));
        assert!(text("ii->i", &[2]).unwrap_err().contains("twice"));
        assert!(text("ij,jk->ik", &[2, 3]).is_err());
    }
}
