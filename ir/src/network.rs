//! Selection networks: which elements are compared, in which order, to find the `k` largest.
//! Interpreter and protocols follow the same one, so that they agree even where comparisons
//! contradict each other.

/// Comparisons of places. `[i, j]` leaves the larger element at `i` and the smaller at `j`, and
/// what lies at `i` where neither is larger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The comparisons that do not depend on each other, layer after layer.
    pub layers: Vec<Vec<[usize; 2]>>,
    /// Where the `k` largest elements lie in the end, largest first.
    pub top: Vec<usize>,
}

impl Network {
    /// For the `k` largest of `n` elements: neighbours, then neighbouring sorted lists are merged
    /// as in Batcher's odd-even merge (Knuth, volume 3, section 5.3.4), `k` elements of each list
    /// being kept, until one is left. Comparisons that the result does not depend on are left out.
    pub fn top_k(n: usize, k: usize) -> Network {
        let mut comparisons = Vec::new();
        let mut lists: Vec<Vec<usize>> = (0..n).map(|place| vec![place]).collect();
        while lists.len() > 1 {
            let mut rest = lists.into_iter();
            let mut merged = Vec::new();
            while let Some(left) = rest.next() {
                let mut list = match rest.next() {
                    Some(right) => merge(&left, &right, &mut comparisons),
                    None => left,
                };
                list.truncate(k);
                merged.push(list);
            }
            lists = merged;
        }
        let mut top = lists.pop().unwrap_or_default();
        top.truncate(k);
        Network { layers: layers(n, needed(n, &top, comparisons)), top }
    }
}

/// Merges lists of places with falling elements; returns the places of the result.
fn merge(left: &[usize], right: &[usize], comparisons: &mut Vec<[usize; 2]>) -> Vec<usize> {
    match (left, right) {
        ([], _) => return right.to_vec(),
        (_, []) => return left.to_vec(),
        (&[a], &[b]) => {
            comparisons.push([a, b]);
            return vec![a, b];
        }
        _ => {}
    }
    let every_other = |list: &[usize], from: usize| list.iter().copied().skip(from).step_by(2).collect::<Vec<usize>>();
    let first = merge(&every_other(left, 0), &every_other(right, 0), comparisons);
    let second = merge(&every_other(left, 1), &every_other(right, 1), comparisons);
    // The largest is that of the first list; from then on each of the second competes with the next
    // of the first.
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let mut first = first.into_iter();
    merged.extend(first.next());
    for a in second {
        merged.push(a);
        if let Some(b) = first.next() {
            comparisons.push([a, b]);
            merged.push(b);
        }
    }
    merged.extend(first);
    merged
}

/// The comparisons that decide what is in the places `top`.
fn needed(n: usize, top: &[usize], comparisons: Vec<[usize; 2]>) -> Vec<[usize; 2]> {
    let mut read = vec![false; n];
    top.iter().for_each(|place| read[*place] = true);
    let mut kept: Vec<[usize; 2]> = Vec::with_capacity(comparisons.len());
    for pair in comparisons.into_iter().rev() {
        if pair.iter().any(|place| read[*place]) {
            pair.iter().for_each(|place| read[*place] = true);
            kept.push(pair);
        }
    }
    kept.reverse();
    kept
}

/// Each comparison in the first layer after those it depends on.
fn layers(n: usize, comparisons: Vec<[usize; 2]>) -> Vec<Vec<[usize; 2]>> {
    let mut depth = vec![0usize; n];
    let mut layers: Vec<Vec<[usize; 2]>> = Vec::new();
    for [i, j] in comparisons {
        let layer = depth[i].max(depth[j]);
        if layer == layers.len() {
            layers.push(Vec::new());
        }
        layers[layer].push([i, j]);
        depth[i] = layer + 1;
        depth[j] = layer + 1;
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(network: &Network, mut x: Vec<i64>) -> Vec<i64> {
        for [i, j] in network.layers.iter().flatten().copied() {
            if x[i] < x[j] {
                x.swap(i, j);
            }
        }
        network.top.iter().map(|place| x[*place]).collect()
    }

    #[test]
    fn networks_select_all_zero_one_sequences() {
        // The zero-one principle: a network that orders all of them orders everything.
        for n in 1..=10 {
            for k in 1..=n {
                let network = Network::top_k(n, k);
                for bits in 0..1u32 << n {
                    let x: Vec<i64> = (0..n).map(|i| i64::from(bits >> i & 1)).collect();
                    let mut sorted = x.clone();
                    sorted.sort_unstable_by(|a, b| b.cmp(a));
                    assert_eq!(top(&network, x), sorted[..k], "{bits:b}, {k} of {n}");
                }
            }
        }
    }

    #[test]
    fn the_best_of_many_is_a_knock_out() {
        let network = Network::top_k(1000, 1);
        assert_eq!(network.layers.iter().map(Vec::len).sum::<usize>(), 999);
        assert_eq!((network.layers.len(), network.top), (10, vec![0]));
    }

    #[test]
    fn layers_are_independent() {
        let network = Network::top_k(100, 7);
        for layer in &network.layers {
            let mut places: Vec<usize> = layer.as_flattened().to_vec();
            places.sort_unstable();
            assert!(places.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}
