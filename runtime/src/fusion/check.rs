//! `fusion.check`: what the client concludes from the answers, by itself and after the last message.

use super::mix::Unmixed;

/// What the client found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Whether all copies of each query have one answer, and it is a class that exists.
    pub consistent: bool,
    /// Public samples answered with their known label.
    pub public_correct: u64,
    /// The answer to each query; its first copy's if copies disagree. For the user's eyes only if accepted.
    pub labels: Vec<i64>,
}

/// Compares the answers with each other and with the public samples' labels. `T` is everything that was revealed about
/// one position; `label` reads the label off it, and labels are in `0..classes`.
pub fn check<T: PartialEq>(
    answers: &Unmixed<T>,
    public_labels: &[i64],
    classes: usize,
    label: impl Fn(&T) -> i64,
) -> Findings {
    let exists = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < classes);
    let agreed = |copies: &Vec<T>| copies.windows(2).all(|pair| pair[0] == pair[1]);
    let labels: Vec<i64> = answers.queries.iter().filter_map(|copies| copies.first()).map(&label).collect();
    Findings {
        consistent: answers.queries.iter().all(agreed)
            && labels.len() == answers.queries.len()
            && labels.iter().all(exists),
        public_correct: answers
            .public
            .iter()
            .zip(public_labels)
            .filter(|(found, known)| label(found) == **known)
            .count() as u64,
        labels,
    }
}

impl Findings {
    /// Whether the answers stand: consistent, and all but `tolerated` of `public_total` public samples correct.
    pub fn accepted(&self, public_total: u64, tolerated: u64) -> bool {
        self.consistent && self.public_correct.saturating_add(tolerated) >= public_total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusion::mix::{Mix, Sample};
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    fn findings(queries: &[&[i64]], public: &[i64], known: &[i64]) -> Findings {
        let queries = queries.iter().map(|copies| copies.to_vec()).collect();
        check(&Unmixed { queries, public: public.to_vec() }, known, 10, |label| *label)
    }

    #[test]
    fn honest_answers_are_accepted() {
        let found = findings(&[&[3, 3], &[9, 9]], &[1, 2], &[1, 2]);
        assert_eq!(found, Findings { consistent: true, public_correct: 2, labels: vec![3, 9] });
        assert!(found.accepted(2, 0));
    }

    #[test]
    fn copies_that_disagree_are_rejected_whichever_copy_it_is() {
        for copies in [[1, 3, 3], [3, 1, 3], [3, 3, 1]] {
            assert!(!findings(&[&[2, 2, 2], &copies], &[], &[]).accepted(0, 0));
        }
    }

    #[test]
    fn everything_revealed_must_agree_not_only_the_label() {
        let queries = vec![vec![(1, 50), (1, 51)]];
        assert!(!check(&Unmixed { queries, public: vec![] }, &[], 10, |(label, _)| *label).consistent);
    }

    #[test]
    fn labels_that_do_not_exist_are_rejected() {
        assert!(!findings(&[&[10, 10]], &[], &[]).consistent);
        assert!(!findings(&[&[-1, -1]], &[], &[]).consistent);
        assert!(!findings(&[&[]], &[], &[]).consistent);
    }

    #[test]
    fn the_tolerated_number_of_public_errors_is_the_limit() {
        let found = findings(&[&[3, 3]], &[1, 2, 0, 4], &[1, 2, 3, 5]);
        assert_eq!(found.public_correct, 2);
        assert!(found.accepted(4, 2) && found.accepted(4, u64::MAX));
        assert!(!found.accepted(4, 1));
    }

    /// The definition once more, by position instead of by sample.
    fn naive(mix: &Mix, answers: &[i64], known: &[i64], tolerated: u64) -> bool {
        let mut errors = 0;
        for (i, one) in mix.samples().iter().enumerate() {
            for (j, other) in mix.samples().iter().enumerate() {
                let same_query = matches!(one, Sample::Query(_)) && one == other;
                if same_query && answers[i] != answers[j] {
                    return false;
                }
            }
            match one {
                Sample::Public(index) => errors += u64::from(answers[i] != known[*index]),
                Sample::Query(_) if !(0..10).contains(&answers[i]) => return false,
                Sample::Query(_) => {}
            }
        }
        errors <= tolerated
    }

    #[test]
    fn verdicts_equal_the_naive_model() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let known = [4, 5, 6];
        let mut accepted = 0;
        for _ in 0..2_000 {
            let mix = Mix::new(2, 2, 3).unwrap();
            let truth = |sample: &Sample| match sample {
                Sample::Query(index) => *index as i64,
                Sample::Public(index) => known[*index],
            };
            let mut answers: Vec<i64> = mix.samples().iter().map(truth).collect();
            for _ in 0..rng.next_u32() % 4 {
                answers[rng.next_u32() as usize % 7] = i64::from(rng.next_u32() % 12);
            }
            let tolerated = u64::from(rng.next_u32() % 3);
            let expected = naive(&mix, &answers, &known, tolerated);
            let found = check(&mix.unmix(answers).unwrap(), &known, 10, |label| *label);
            assert_eq!(found.accepted(3, tolerated), expected);
            accepted += u32::from(expected);
        }
        assert!((500..1_900).contains(&accepted), "both verdicts occur: {accepted}");
    }
}
