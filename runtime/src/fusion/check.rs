//! `fusion.check`: what the client concludes from the answers, by itself and after the last
//! message.

use fusion_ir::soundness::Batch;

use super::known::Known;
use super::mix::Unmixed;

/// What the client found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Whether all copies of each query have one answer, and its labels exist.
    pub consistent: bool,
    /// Public samples answered rightly.
    pub public_correct: u64,
    /// Probes answered exactly as they were earlier.
    pub probes_correct: u64,
    /// The answer to each query, its first copy's if copies disagree. For the user's eyes only if
    /// accepted.
    pub answers: Vec<Vec<i64>>,
}

/// Compares the answers with each other, with the known labels of public samples, and with the
/// probes' complete answers.
///
/// An answer is everything that was revealed about one position; `meaning` reads off the labels it
/// has, best first, or its values, and none if it is nothing that could be revealed.
pub fn check<'k>(
    answers: &Unmixed<Vec<i64>>,
    public: impl IntoIterator<Item = &'k Known>,
    probes: &[&[i64]],
    meaning: impl Fn(&[i64]) -> Vec<i64>,
) -> Findings {
    let agreed = |copies: &Vec<Vec<i64>>| copies.windows(2).all(|pair| pair[0] == pair[1]);
    let exists = |copies: &Vec<Vec<i64>>| copies.first().is_some_and(|answer| !meaning(answer).is_empty());
    let as_before = |answer: &Vec<i64>, before: &[i64]| match cfg!(fusion_ablate = "first-rank-only") {
        true => meaning(answer).first() == meaning(before).first(),
        false => answer == before,
    };
    let right = answers.public.iter().zip(public).filter(|(answer, known)| known.allows(&meaning(answer)));
    let unchanged = answers.probes.iter().zip(probes).filter(|(answer, before)| as_before(answer, before));
    Findings {
        consistent: answers.queries.iter().all(agreed) && answers.queries.iter().all(exists),
        public_correct: right.count() as u64,
        probes_correct: unchanged.count() as u64,
        answers: answers.queries.iter().filter_map(|copies| copies.first()).cloned().collect(),
    }
}

impl Findings {
    /// Whether the answers to `batch` stand: consistent, all public samples but those tolerated
    /// correct, and every probe.
    pub fn accepted(&self, batch: &Batch) -> bool {
        let consistent = self.consistent || cfg!(fusion_ablate = "without-consistency");
        let accurate = self.public_correct.saturating_add(batch.tolerated) >= batch.public;
        consistent && (accurate || cfg!(fusion_ablate = "without-accuracy")) && self.probes_correct >= batch.probes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusion::mix::{Mix, Sample};
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    /// Labels below ten, as many as there are.
    fn labels(answer: &[i64]) -> Vec<i64> {
        if answer.iter().all(|label| (0..10).contains(label)) { answer.to_vec() } else { Vec::new() }
    }

    fn each(labels: &[i64]) -> Vec<Vec<i64>> {
        labels.iter().map(|label| vec![*label]).collect()
    }

    fn checked(answers: &Unmixed<Vec<i64>>, public: &[Vec<i64>], probes: &[Vec<i64>]) -> Findings {
        let public: Vec<Known> = public.iter().cloned().map(Known::from).collect();
        let probes: Vec<&[i64]> = probes.iter().map(Vec::as_slice).collect();
        check(answers, &public, &probes, labels)
    }

    fn findings(queries: &[&[i64]], public: &[i64], known: &[i64]) -> Findings {
        let queries = queries.iter().map(|copies| each(copies)).collect();
        checked(&Unmixed { queries, public: each(public), probes: vec![] }, &each(known), &[])
    }

    fn batch(public: u64, tolerated: u64) -> Batch {
        Batch { queries: 2, copies: 2, public, tolerated, probes: 0 }
    }

    #[test]
    fn honest_answers_are_accepted() {
        let found = findings(&[&[3, 3], &[9, 9]], &[1, 2], &[1, 2]);
        let answers = vec![vec![3], vec![9]];
        assert_eq!(found, Findings { consistent: true, public_correct: 2, probes_correct: 0, answers });
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
        let queries = vec![vec![vec![1, 5], vec![1, 6]]];
        assert!(!checked(&Unmixed { queries, public: vec![], probes: vec![] }, &[], &[]).consistent);
    }

    #[test]
    fn all_known_ranks_are_compared() {
        let answers = Unmixed {
            queries: vec![vec![vec![1, 5]]],
            public: vec![vec![1, 2], vec![3, 4], vec![5, 6]],
            probes: vec![vec![7, 8], vec![7, 8]],
        };
        let count = |public: [&[i64]; 3], probes: [&[i64]; 2]| {
            let public = public.map(|known| Known::from(known.to_vec()));
            let found = check(&answers, &public, &probes, labels);
            (found.public_correct, found.probes_correct)
        };
        assert_eq!(count([&[1, 2], &[3, 4], &[5, 6]], [&[7, 8], &[7, 8]]), (3, 2));
        // Of the second sample only one rank is known; the third has another second rank.
        assert_eq!(count([&[1, 2], &[3], &[5, 7]], [&[7, 8], &[7, 9]]), (2, 1));
        assert_eq!(count([&[2, 1], &[], &[5, 6, 7]], [&[7], &[7, 8, 9]]), (0, 0));
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
        let batch = Batch { probes: 3, ..batch(2, 2) };
        let accepted = |probes: &[i64]| {
            let queries = vec![vec![vec![3], vec![3]]];
            let answers = Unmixed { queries, public: each(&[1, 2]), probes: each(probes) };
            checked(&answers, &each(&[1, 2]), &each(&[7, 8, 9])).accepted(&batch)
        };
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
            let found = checked(&mix.unmix(each(&answers)).unwrap(), &each(&known), &each(&probes));
            assert_eq!(found.accepted(&Batch { probes: 1, ..batch(3, tolerated) }), expected);
            accepted += u32::from(expected);
        }
        assert!((500..1_900).contains(&accepted), "both verdicts occur: {accepted}");
    }
}
