//! `fusion.check`: what the client concludes from the answers, by itself and after the last message.

use fusion_ir::soundness::Batch;

use super::mix::Unmixed;

/// What the client found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Whether all copies of each query have one answer, and it is a class that exists.
    pub consistent: bool,
    /// Public samples answered with their known label.
    pub public_correct: u64,
    /// Probes answered with the label that was accepted earlier.
    pub probes_correct: u64,
    /// The answer to each query; its first copy's if copies disagree. For the user's eyes only if accepted.
    pub labels: Vec<i64>,
}

/// Compares the answers with each other and with the labels of public samples and probes. `T` is everything that was revealed about
/// one position; `label` reads the label off it, and labels are in `0..classes`.
pub fn check<T: PartialEq>(
    answers: &Unmixed<T>,
    public_labels: &[i64],
    probe_labels: &[i64],
    classes: usize,
    label: impl Fn(&T) -> i64,
) -> Findings {
    let exists = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < classes);
    let agreed = |copies: &Vec<T>| copies.windows(2).all(|pair| pair[0] == pair[1]);
    let labels: Vec<i64> = answers.queries.iter().filter_map(|copies| copies.first()).map(&label).collect();
    let correct = |answers: &[T], known: &[i64]| {
        answers.iter().zip(known).filter(|(found, known)| label(found) == **known).count() as u64
    };
    Findings {
        consistent: answers.queries.iter().all(agreed)
            && labels.len() == answers.queries.len()
            && labels.iter().all(exists),
        public_correct: correct(&answers.public, public_labels),
        probes_correct: correct(&answers.probes, probe_labels),
        labels,
    }
}

impl Findings {
    /// Whether the answers to `batch` stand: consistent, all public samples but those tolerated correct, and every probe.
    pub fn accepted(&self, batch: &Batch) -> bool {
        let consistent = self.consistent || cfg!(feature = "without-consistency");
        let accurate = self.public_correct.saturating_add(batch.tolerated) >= batch.public;
        consistent && (accurate || cfg!(feature = "without-accuracy")) && self.probes_correct >= batch.probes
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
        check(&Unmixed { queries, public: public.to_vec(), probes: vec![] }, known, &[], 10, |label| *label)
    }

    fn batch(public: u64, tolerated: u64) -> Batch {
        Batch { queries: 2, copies: 2, public, tolerated, probes: 0 }
    }

    #[test]
    fn honest_answers_are_accepted() {
        let found = findings(&[&[3, 3], &[9, 9]], &[1, 2], &[1, 2]);
        assert_eq!(found, Findings { consistent: true, public_correct: 2, probes_correct: 0, labels: vec![3, 9] });
        assert!(found.accepted(&batch(2, 0)));
    }

    #[test]
    fn copies_that_disagree_are_rejected_whichever_copy_it_is() {
        for copies in [[1, 3, 3], [3, 1, 3], [3, 3, 1]] {
            assert!(!findings(&[&[2, 2, 2], &copies], &[], &[]).accepted(&batch(0, 0)));
        }
    }

    #[test]
    fn everything_revealed_must_agree_not_only_the_label() {
        let queries = vec![vec![(1, 50), (1, 51)]];
        let answers = Unmixed { queries, public: vec![], probes: vec![] };
        assert!(!check(&answers, &[], &[], 10, |(label, _)| *label).consistent);
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
        assert!(found.accepted(&batch(4, 2)) && found.accepted(&batch(4, u64::MAX)));
        assert!(!found.accepted(&batch(4, 1)));
    }

    #[test]
    fn no_probe_may_be_wrong_whatever_is_tolerated() {
        let answers =
            |probes: &[i64]| Unmixed { queries: vec![vec![3, 3]], public: vec![1, 2], probes: probes.to_vec() };
        let batch = Batch { probes: 3, ..batch(2, 2) };
        let accepted =
            |probes: &[i64]| check(&answers(probes), &[1, 2], &[7, 8, 9], 10, |label| *label).accepted(&batch);
        assert!(accepted(&[7, 8, 9]));
        for wrong in [&[7, 8, 0][..], &[0, 8, 9], &[8, 7, 9], &[7, 8], &[]] {
            assert!(!accepted(wrong), "{wrong:?}");
        }
    }

    /// The definition once more, by position instead of by sample.
    fn naive(mix: &Mix, answers: &[i64], known: &[i64], probes: &[i64], tolerated: u64) -> bool {
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
                Sample::Probe(index) if answers[i] != probes[*index] => return false,
                Sample::Probe(_) => {}
                Sample::Query(_) if !(0..10).contains(&answers[i]) => return false,
                Sample::Query(_) => {}
            }
        }
        errors <= tolerated
    }

    #[test]
    fn verdicts_equal_the_naive_model() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let (known, probes) = ([4, 5, 6], [7]);
        let mut accepted = 0;
        for _ in 0..2_000 {
            let mix = Mix::new(2, 2, 3, 1).unwrap();
            let truth = |sample: &Sample| match sample {
                Sample::Query(index) => *index as i64,
                Sample::Public(index) => known[*index],
                Sample::Probe(index) => probes[*index],
            };
            let mut answers: Vec<i64> = mix.samples().iter().map(truth).collect();
            for _ in 0..rng.next_u32() % 4 {
                answers[rng.next_u32() as usize % 8] = i64::from(rng.next_u32() % 12);
            }
            let tolerated = u64::from(rng.next_u32() % 3);
            let expected = naive(&mix, &answers, &known, &probes, tolerated);
            let found = check(&mix.unmix(answers).unwrap(), &known, &probes, 10, |label| *label);
            assert_eq!(found.accepted(&Batch { probes: 1, ..batch(3, tolerated) }), expected);
            accepted += u32::from(expected);
        }
        assert!((500..1_900).contains(&accepted), "both verdicts occur: {accepted}");
    }
}
