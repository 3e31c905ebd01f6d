//! Nonserial dynamic programming: the least sum of terms, each of which depends on few of many
//! choices.
//!
//! Choices are eliminated one after the other: for every combination of those it shares a term
//! with, its best option is found, and one term of what remains takes the place of its terms
//! (Bertele, Brioschi: *Nonserial Dynamic Programming*, 1972). On a chain this is the usual dynamic
//! programming; skip connections and shared costs only make terms wider.

use std::collections::{BTreeMap, BTreeSet};

/// One term of the sum.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    /// The choices that it depends on, distinct.
    pub choices: Vec<usize>,
    /// Its value for every combination of their options, row-major, the last choice's option
    /// fastest.
    pub values: Vec<f64>,
}

/// Options, one for each choice, with the least sum of all terms; the first of equal ones.
/// `options` gives the number of every choice's options, at least 1.
pub(super) fn least(options: &[usize], terms: Vec<Term>) -> Vec<usize> {
    let mut left = Left::new(options, terms);
    let mut eliminated = Vec::with_capacity(options.len());
    let mut picked = vec![0; options.len()];
    while let Some(choice) = left.cheapest() {
        let own = left.eliminate(choice);
        let around = around(choice, &own);
        let (mut values, mut best) = (Vec::new(), Vec::new());
        for combination in 0..around.iter().map(|other| options[*other]).product() {
            pick(options, &around, combination, &mut picked);
            let mut sum = |option| {
                picked[choice] = option;
                own.iter().map(|term| term.value(options, &picked)).sum::<f64>()
            };
            let sums: Vec<f64> = (0..options[choice]).map(&mut sum).collect();
            let option = (1..sums.len()).fold(0, |best, option| if sums[option] < sums[best] { option } else { best });
            values.push(sums[option]);
            best.push(option);
        }
        eliminated.push((choice, around.clone(), best));
        if !around.is_empty() {
            left.add(Term { choices: around, values });
        }
    }
    for (choice, around, best) in eliminated.into_iter().rev() {
        let combination = around.iter().fold(0, |index, other| index * options[*other] + picked[*other]);
        picked[choice] = best[combination];
    }
    picked
}

/// What is not eliminated yet, with how much work eliminating each choice would be.
struct Left<'o> {
    options: &'o [usize],
    /// Terms; those that are gone are `None`.
    terms: Vec<Option<Term>>,
    /// The terms of every choice, in order; some may be gone.
    own: Vec<Vec<usize>>,
    /// With whom every choice shares how many terms.
    shared: Vec<BTreeMap<usize, usize>>,
    /// How many of these have a choice to make.
    undecided: Vec<usize>,
    /// Choices by the combinations that eliminating them would go through.
    queue: BTreeSet<(usize, usize)>,
    table_len: Vec<usize>,
}

impl<'o> Left<'o> {
    fn new(options: &'o [usize], terms: Vec<Term>) -> Self {
        let n = options.len();
        let mut left = Left {
            options,
            terms: Vec::with_capacity(terms.len() + n),
            own: vec![Vec::new(); n],
            shared: vec![BTreeMap::new(); n],
            undecided: vec![0; n],
            queue: options.iter().copied().zip(0..n).collect(),
            table_len: options.to_vec(),
        };
        terms.into_iter().for_each(|term| left.add(term));
        left
    }

    fn cheapest(&self) -> Option<usize> {
        self.queue.first().map(|(_, choice)| *choice)
    }

    fn add(&mut self, term: Term) {
        for choice in &term.choices {
            self.own[*choice].push(self.terms.len());
            for other in term.choices.iter().filter(|other| *other != choice) {
                let count = self.shared[*choice].entry(*other).or_insert(0);
                *count += 1;
                if *count == 1 && self.options[*other] > 1 {
                    self.undecided[*choice] += 1;
                }
            }
        }
        term.choices.iter().for_each(|choice| self.weigh(*choice));
        self.terms.push(Some(term));
    }

    /// The terms of `choice`, which is no longer there.
    fn eliminate(&mut self, choice: usize) -> Vec<Term> {
        self.queue.remove(&(self.table_len[choice], choice));
        let own = std::mem::take(&mut self.own[choice]);
        let own: Vec<Term> = own.into_iter().filter_map(|at| self.terms[at].take()).collect();
        for term in &own {
            for one in term.choices.iter().filter(|one| **one != choice) {
                for other in term.choices.iter().filter(|other| *other != one) {
                    let Some(count) = self.shared[*one].get_mut(other) else { continue };
                    *count -= 1;
                    if *count == 0 {
                        self.shared[*one].remove(other);
                        self.undecided[*one] -= usize::from(self.options[*other] > 1);
                    }
                }
            }
        }
        let around: Vec<usize> = self.shared[choice].keys().copied().collect();
        around.into_iter().for_each(|other| self.weigh(other));
        own
    }

    /// Notes what eliminating `choice` would go through now.
    fn weigh(&mut self, choice: usize) {
        let others = || self.shared[choice].keys();
        let len = match self.undecided[choice] {
            // Two options each are too many already.
            64.. => usize::MAX,
            _ => others().fold(self.options[choice], |len, other| len.saturating_mul(self.options[*other])),
        };
        self.queue.remove(&(self.table_len[choice], choice));
        self.queue.insert((len, choice));
        self.table_len[choice] = len;
    }
}

impl Term {
    fn value(&self, options: &[usize], picked: &[usize]) -> f64 {
        self.values[self.choices.iter().fold(0, |index, choice| index * options[*choice] + picked[*choice])]
    }
}

/// The other choices that share a term with `choice`, in order.
fn around(choice: usize, terms: &[Term]) -> Vec<usize> {
    let sharing = terms.iter().filter(|term| term.choices.contains(&choice));
    let mut around: Vec<usize> =
        sharing.flat_map(|term| term.choices.iter().copied()).filter(|c| *c != choice).collect();
    around.sort_unstable();
    around.dedup();
    around
}

/// Sets the options of `choices` to combination number `index`.
fn pick(options: &[usize], choices: &[usize], mut index: usize, picked: &mut [usize]) {
    for choice in choices.iter().rev() {
        picked[*choice] = index % options[*choice];
        index /= options[*choice];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % n
        }
    }

    fn total(options: &[usize], terms: &[Term], picked: &[usize]) -> f64 {
        terms.iter().map(|term| term.value(options, picked)).sum()
    }

    #[test]
    fn nothing_is_better_than_what_is_found() {
        let mut random = Random(1);
        for _ in 0..300 {
            let options: Vec<usize> = (0..1 + random.below(6)).map(|_| 1 + random.below(3)).collect();
            let terms: Vec<Term> = (0..random.below(8))
                .map(|_| {
                    let mut choices: Vec<usize> = (0..options.len()).filter(|_| random.below(3) == 0).collect();
                    choices.reverse();
                    let len = choices.iter().map(|choice| options[*choice]).product();
                    Term { choices, values: (0..len).map(|_| random.below(100) as f64).collect() }
                })
                .collect();
            let found = least(&options, terms.clone());
            let mut picked = vec![0; options.len()];
            let all: Vec<usize> = (0..options.len()).collect();
            for combination in 0..options.iter().product() {
                pick(&options, &all, combination, &mut picked);
                assert!(total(&options, &terms, &found) <= total(&options, &terms, &picked), "{options:?} {terms:?}");
            }
        }
    }

    #[test]
    fn a_greedy_choice_is_not_made() {
        // The second option of either is dearer by itself, and saves more if both take it.
        let term = |choices: &[usize], values: &[f64]| Term { choices: choices.to_vec(), values: values.to_vec() };
        let terms = vec![term(&[0], &[1.0, 2.0]), term(&[1], &[1.0, 2.0]), term(&[0, 1], &[5.0, 5.0, 5.0, 0.0])];
        assert_eq!(least(&[2, 2], terms), [1, 1]);
    }

    #[test]
    fn long_chains_with_skips_are_quick() {
        let n = 500;
        let mut random = Random(7);
        let mut terms = Vec::new();
        for i in 0..n {
            for other in [i + 1, i + 3].into_iter().filter(|other| *other < n) {
                let values = (0..16).map(|_| random.below(50) as f64).collect();
                terms.push(Term { choices: vec![i, other], values });
            }
        }
        assert_eq!(least(&vec![4; n], terms).len(), n);
    }

    /// A network of many layers, all of which may share two facilities.
    #[test]
    fn very_long_chains_with_shared_costs_end_soon() {
        let n = 20_000;
        let mut random = Random(9);
        let mut options = vec![4; n];
        options.extend([2, 2]);
        let mut terms = Vec::new();
        for i in 0..n {
            terms.push(Term { choices: vec![i], values: (0..4).map(|_| random.below(50) as f64).collect() });
            for facility in [n, n + 1] {
                let values = (0..8).map(|_| if random.below(8) == 0 { f64::INFINITY } else { 0.0 }).collect();
                terms.push(Term { choices: vec![i, facility], values });
            }
        }
        terms.push(Term { choices: vec![n], values: vec![0.0, 10.0] });
        assert_eq!(least(&options, terms).len(), n + 2);
    }
}
