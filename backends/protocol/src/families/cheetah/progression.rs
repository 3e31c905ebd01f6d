//! Sets without three terms in arithmetic progression: they keep the groups of a grouped
//! convolution apart.
//!
//! If group `g`'s operand and its kernel both sit at block `f(g)`, the product of group `g`'s
//! operand with group `h`'s kernel lands at `f(g) + f(h)`, and the wanted result at `2 f(g)`.
//! Nothing unwanted lands on a wanted block iff `f(g) + f(h) = 2 f(k)` only for `g = h = k`.

/// Largest progression-free subsets of `0..n`, for each `n` at which the maximum grows (OEIS
/// A065825) and beats the regular construction of [`progression_free`].
const LARGEST: [&[usize]; 8] = [
    &[0, 1, 3, 7, 8],
    &[0, 1, 5, 6, 8, 13, 14, 17, 19],
    &[0, 1, 4, 6, 10, 15, 17, 18, 22, 23],
    &[0, 1, 4, 6, 10, 15, 17, 18, 22, 23, 25],
    &[0, 2, 3, 7, 8, 10, 19, 21, 22, 26, 27, 29],
    &[0, 1, 3, 7, 8, 10, 18, 21, 22, 25, 27, 30, 31],
    &[0, 1, 3, 7, 8, 12, 20, 22, 25, 26, 29, 31, 34, 35],
    &[0, 1, 3, 4, 9, 10, 12, 13, 27, 28, 30, 31, 36, 37, 39],
];

/// A large subset of `0..n` without three terms in arithmetic progression, ascending: a largest one
/// for `n <= 50`.
pub(super) fn progression_free(n: usize) -> Vec<usize> {
    // Numbers whose ternary digits are 0 and 1 only: doubling one never carries, so its digits tell
    // both summands.
    let ternary = |mut i: usize| {
        let (mut value, mut power) = (0, 1);
        while i > 0 {
            value += (i & 1) * power;
            power *= 3;
            i >>= 1;
        }
        value
    };
    let regular: Vec<usize> = (0..).map(ternary).take_while(|&value| value < n).collect();
    let known = LARGEST.iter().filter(|set| set.last().is_some_and(|&last| last < n)).max_by_key(|set| set.len());
    match known {
        Some(set) if set.len() > regular.len() => set.to_vec(),
        _ => regular,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_are_free_of_progressions_and_as_large_as_known() {
        for n in 0..200 {
            let set = progression_free(n);
            assert!(set.iter().all(|&x| x < n));
            for &a in &set {
                for &b in &set {
                    assert!(a == b || !set.iter().any(|&c| a + b == 2 * c), "{n}: {a}, {b}");
                }
            }
        }
        let sizes: Vec<usize> = [1, 2, 4, 5, 9, 11, 13, 14, 20, 24, 26, 30, 32, 36, 40, 41]
            .into_iter()
            .map(|n| progression_free(n).len())
            .collect();
        assert_eq!(sizes, (1..=16).collect::<Vec<_>>());
    }
}
