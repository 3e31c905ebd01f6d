//! Nonserial dynamic programming: the least sum of terms, each of which depends on few of many choices.
//!
//! Choices are eliminated one after the other: for every combination of those it shares a term with, its best option is
//! found, and one term of what remains takes the place of its terms (Bertele, Brioschi: *Nonserial Dynamic Programming*,
//! 1972). On a chain this is the usual dynamic programming; skip connections and shared costs only make terms wider.

/// One term of the sum.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    /// The choices that it depends on, distinct.
    pub choices: Vec<usize>,
    /// Its value for every combination of their options, row-major, the last choice's option fastest.
    pub values: Vec<f64>,
}

/// Options, one for each choice, with the least sum of all terms; the first of equal ones. `options` gives the number of every
/// choice's options, at least 1.
pub(super) fn least(options: &[usize], mut terms: Vec<Term>) -> Vec<usize> {
    let mut left: Vec<usize> = (0..options.len()).collect();
    let mut eliminated = Vec::with_capacity(left.len());
    while let Some(at) = (0..left.len()).min_by_key(|at| table_len(options, left[*at], &terms)) {
        let choice = left.swap_remove(at);
        let (own, others): (Vec<Term>, Vec<Term>) = terms.into_iter().partition(|term| term.choices.contains(&choice));
        terms = others;
        let around = around(choice, &own);
        let (mut values, mut best) = (Vec::new(), Vec::new());
        let mut picked = vec![0; options.len()];
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
            terms.push(Term { choices: around, values });
        }
    }
    let mut picked = vec![0; options.len()];
    for (choice, around, best) in eliminated.into_iter().rev() {
        let combination = around.iter().fold(0, |index, other| index * options[*other] + picked[*other]);
        picked[choice] = best[combination];
    }
    picked
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

/// Combinations that eliminating `choice` would go through.
fn table_len(options: &[usize], choice: usize, terms: &[Term]) -> usize {
    around(choice, terms).iter().fold(options[choice], |len, other| len.saturating_mul(options[*other]))
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
}
