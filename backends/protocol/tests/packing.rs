//! Packings against a naive integer convolution: the polynomial products of a packing, computed
//! coefficient by coefficient, must hold exactly the layer's results.

use std::collections::HashSet;

use fusion_catalogue::cheetah::noise::Noise;
use fusion_catalogue::cheetah::{Packing, Run, interleaved};
use fusion_catalogue::linear::{Geometry, Refusal};
use fusion_catalogue::rlwe::DEGREE;

/// Deterministic test data (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform enough in `range`.
    fn within(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        range.start() + (self.next() % (range.end() - range.start() + 1) as u64) as usize
    }

    fn tensor(&mut self, len: usize) -> Vec<i64> {
        (0..len).map(|_| self.next() as i64 >> 40).collect()
    }
}

/// One element of the convolution, by definition.
fn convolve(geometry: &Geometry, x: &[i64], weight: &[i64], element: usize) -> i64 {
    let [height, width] = geometry.output();
    let [channels, outputs] = geometry.group();
    let (m, i, j) = (element / (height * width), element / width % height, element % width);
    let [_, rows, columns] = geometry.input;
    let mut sum = 0i64;
    for c in 0..channels {
        for l in 0..geometry.kernel[0] {
            for q in 0..geometry.kernel[1] {
                let row = i * geometry.strides[0] + l * geometry.dilations[0];
                let column = j * geometry.strides[1] + q * geometry.dilations[1];
                let (Some(row), Some(column)) =
                    (row.checked_sub(geometry.pads[0]), column.checked_sub(geometry.pads[1]))
                else {
                    continue;
                };
                if row < rows && column < columns {
                    let channel = m / outputs * channels + c;
                    let w = weight[((m * channels + c) * geometry.kernel[0] + l) * geometry.kernel[1] + q];
                    sum = sum.wrapping_add(w.wrapping_mul(x[(channel * rows + row) * columns + column]));
                }
            }
        }
    }
    sum
}

/// Checks `samples` sums of the packings of `geometry` without and with output packing (all of them
/// if there are no more), and that every result has exactly one place. Returns both.
fn check(geometry: &Geometry, acc_bits: u8, samples: usize, random: &mut Random) -> [Packing; 2] {
    [Packing::of, Packing::packed].map(|packing| {
        let packing = packing(geometry, acc_bits).unwrap_or_else(|error| panic!("{geometry:?}: {error}"));
        check_packing(&packing, samples, random);
        packing
    })
}

fn check_packing(packing: &Packing, samples: usize, random: &mut Random) {
    let geometry = packing.geometry();
    let x = random.tensor(geometry.input_len());
    let weight = random.tensor(geometry.weight_len());
    let mut seen = vec![false; geometry.output_len()];
    for result in 0..packing.results() {
        let mut used = vec![false; DEGREE];
        for (element, coefficient) in packing.result(result).flat_map(Run::pairs) {
            assert!(!std::mem::replace(&mut seen[element], true), "{packing:?}");
            assert!(!std::mem::replace(&mut used[coefficient], true), "{packing:?}");
        }
        assert_eq!(used.iter().filter(|used| **used).count(), packing.result_len(result));
    }
    assert!(seen.iter().all(|&seen| seen), "{packing:?}");
    let all = packing.sums();
    for sample in 0..samples.min(all) {
        let index = if all <= samples { sample } else { random.within(0..=all - 1) };
        check_sum(packing, index / packing.tiles(), index % packing.tiles(), &x, &weight, random);
    }
}

fn check_sum(packing: &Packing, unit: usize, tile: usize, x: &[i64], weight: &[i64], random: &mut Random) {
    let (number, classes) = (unit * packing.tiles() + tile, 1 << packing.levels());
    let class = interleaved::class(number % classes, packing.levels());
    let packed: HashSet<_> = packing.result(number / classes).flat_map(Run::pairs).collect();
    let first = packing.first_operand(unit, tile);
    let products: Vec<_> = (0..packing.products())
        .map(|product| {
            let mut operand = vec![0i64; DEGREE];
            let mut used = vec![false; DEGREE];
            for (element, coefficient) in packing.operand(first + product).flat_map(Run::pairs) {
                assert!(!std::mem::replace(&mut used[coefficient], true));
                operand[coefficient] = x[element];
            }
            (operand, packing.kernel(unit, product).collect::<Vec<_>>())
        })
        .collect();
    let terms: usize = products.iter().map(|(_, kernel)| kernel.len()).sum();
    assert!(terms <= packing.terms());
    let results: Vec<_> = packing.sum(unit, tile).flat_map(Run::pairs).collect();
    for &(element, coefficient) in &results {
        assert!(coefficient % classes == 0 && packed.contains(&(element, coefficient + class)));
    }
    // The last groups of all may have nothing to share polynomials with.
    if results.is_empty() {
        return;
    }
    // A few of the coefficients where all would take long.
    let stride = (results.len() * terms / 2_000_000).max(1);
    for &(element, coefficient) in results.iter().skip(random.within(0..=stride - 1) % results.len()).step_by(stride) {
        let mut sum = 0i64;
        for (operand, kernel) in &products {
            for term in kernel {
                let wraps = term.coefficient > coefficient;
                let other = if wraps { coefficient + DEGREE } else { coefficient } - term.coefficient;
                let product = weight[term.element].wrapping_mul(operand[other]);
                sum = if wraps == term.negative { sum.wrapping_add(product) } else { sum.wrapping_sub(product) };
            }
        }
        assert_eq!(sum, convolve(packing.geometry(), x, weight, element), "{packing:?} {element}");
    }
}

/// `channels x size x size` to `outputs` channels with a square `kernel`.
fn square(
    channels: usize,
    size: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    groups: usize,
) -> Geometry {
    Geometry {
        input: [channels, size, size],
        outputs,
        kernel: [kernel; 2],
        strides: [stride; 2],
        pads: [pad; 4],
        dilations: [1; 2],
        groups,
    }
}

#[test]
fn layers_of_small_networks() {
    let mut random = Random(1);
    let shapes = [
        // ResNet-20 on CIFAR-10.
        square(3, 32, 16, 3, 1, 1, 1),
        square(16, 32, 16, 3, 1, 1, 1),
        square(16, 32, 32, 3, 2, 1, 1),
        square(16, 32, 32, 1, 2, 0, 1),
        square(32, 16, 32, 3, 1, 1, 1),
        square(32, 16, 64, 3, 2, 1, 1),
        square(32, 16, 64, 1, 2, 0, 1),
        square(64, 8, 64, 3, 1, 1, 1),
        Geometry::dense(64, 10),
        // MNIST.
        square(1, 28, 8, 5, 1, 2, 1),
        square(8, 14, 16, 5, 1, 2, 1),
        Geometry::dense(256, 10),
        square(1, 28, 16, 4, 2, 1, 1),
        square(16, 14, 32, 4, 2, 1, 1),
        Geometry::dense(1568, 100),
        // Digits.
        square(1, 8, 16, 3, 1, 1, 1),
        square(16, 8, 32, 3, 1, 1, 1),
        square(16, 4, 32, 3, 1, 1, 1),
        Geometry::dense(512, 10),
    ];
    for geometry in shapes {
        check(&geometry, 28, 6, &mut random);
    }
}

#[test]
fn layers_of_large_networks() {
    let mut random = Random(2);
    let mut shapes = vec![square(3, 224, 64, 7, 2, 3, 1), Geometry::dense(2048, 1000)];
    // ResNet-50's stages: bottleneck width, image; ResNet-18's are the 3x3 layers at the same
    // sizes.
    for (width, size) in [(64, 56), (128, 28), (256, 14), (512, 7)] {
        shapes.push(square(4 * width, size, width, 1, 1, 0, 1));
        shapes.push(square(width, size, width, 3, 1, 1, 1));
        shapes.push(square(width, size, 4 * width, 1, 1, 0, 1));
        if width > 64 {
            shapes.push(square(width, 2 * size, width, 3, 2, 1, 1));
            shapes.push(square(width / 2, 2 * size, width, 3, 2, 1, 1));
            shapes.push(square(2 * width, 2 * size, 4 * width, 1, 2, 0, 1));
        }
    }
    // SqueezeNet 1.0 and 1.1.
    shapes.extend([square(3, 224, 96, 7, 2, 0, 1), square(3, 224, 64, 3, 2, 0, 1), square(512, 13, 1000, 1, 1, 0, 1)]);
    shapes.extend([square(16, 54, 64, 3, 1, 1, 1), square(64, 13, 256, 3, 1, 1, 1), square(96, 54, 16, 1, 1, 0, 1)]);
    // MobileNetV2: first layer, depthwise layers, an expansion and a projection.
    shapes.extend([square(3, 224, 32, 3, 2, 1, 1), square(24, 56, 144, 1, 1, 0, 1), square(960, 7, 320, 1, 1, 0, 1)]);
    for (channels, size, stride) in
        [(32, 112, 1), (96, 112, 2), (144, 56, 1), (192, 28, 1), (384, 14, 1), (576, 14, 2), (960, 7, 1)]
    {
        shapes.push(square(channels, size, channels, 3, stride, 1, channels));
    }
    for geometry in shapes {
        check(&geometry, 32, 2, &mut random);
    }
}

#[test]
fn random_shapes() {
    let mut random = Random(3);
    let (mut checked, mut packed) = (0, 0);
    while checked < 400 {
        let groups = [1, 1, 1, 2, 3, 8][random.within(0..=5)];
        let geometry = Geometry {
            input: [groups * random.within(1..=6), random.within(1..=24), random.within(1..=24)],
            outputs: groups * random.within(1..=6),
            kernel: [random.within(1..=5), random.within(1..=5)],
            strides: [random.within(1..=3), random.within(1..=3)],
            pads: [0; 4].map(|_| random.within(0..=3)),
            dilations: [random.within(1..=3), random.within(1..=3)],
            groups,
        };
        if geometry.check().is_err() {
            continue;
        }
        checked += 1;
        let [_, packing] = check(&geometry, 20, 2, &mut random);
        packed += usize::from(packing.levels() > 0);
    }
    assert!(packed > 50, "{packed}");
    // Images larger than a polynomial, rectangular, with uneven padding.
    for _ in 0..12 {
        let geometry = Geometry {
            input: [random.within(1..=3), random.within(50..=150), random.within(50..=150)],
            outputs: random.within(1..=3),
            kernel: [random.within(1..=7), random.within(1..=7)],
            strides: [random.within(1..=2), random.within(1..=2)],
            pads: [0; 4].map(|_| random.within(0..=1)),
            dilations: [random.within(1..=2), random.within(1..=2)],
            groups: 1,
        };
        if geometry.check().is_ok() {
            check(&geometry, 30, 4, &mut random);
        }
    }
}

#[test]
fn known_packings() {
    let one = Packing::of(&square(64, 56, 64, 3, 1, 1, 1), 32).unwrap();
    assert_eq!((one.operands(), one.results(), one.tiles()), (64, 64, 1));
    // Strided one-by-one layers subsample first.
    let subsampled = Packing::of(&square(256, 56, 512, 1, 2, 0, 1), 32).unwrap();
    assert_eq!(subsampled, Packing::of(&square(256, 56, 512, 1, 2, 0, 1), 32).unwrap());
    assert_eq!(subsampled.operand(0).flat_map(Run::pairs).map(|(element, _)| element % 2).max(), Some(0));
    // Thirteen depthwise channels of seven by seven can share a product, and taking turns is
    // cheaper.
    let depthwise = Packing::of(&square(960, 7, 960, 3, 1, 1, 960), 32).unwrap();
    assert!(depthwise.operands() < 960usize.div_ceil(13) && depthwise.results() > 960usize.div_ceil(13));
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(Packing::of(&square(1, 8, 1, 3, 1, 1, 1), 35), Err(Refusal::Accumulator(35)));
    assert_eq!(Packing::of(&square(1, 8, 1, 9, 1, 0, 1), 30), Err(Refusal::Malformed));
    assert_eq!(Packing::of(&square(1, 8, 1, 3, 1, 3, 1), 30), Err(Refusal::Malformed));
    assert_eq!(Packing::of(&square(3, 8, 4, 3, 1, 1, 2), 30), Err(Refusal::Malformed));
    assert_eq!(Packing::of(&square(1, 100, 1, 70, 1, 0, 1), 30), Err(Refusal::Kernel));
    // What a plan may declare in a few bytes, and no search would get through.
    let row = |columns, kernel| Geometry { input: [1, 1, columns], kernel: [1, kernel], ..square(1, 1, 1, 1, 1, 0, 1) };
    assert_eq!(Packing::of(&row(1 << 28, 1), 30), Err(Refusal::Extent));
    let spread = Geometry { pads: [0, 1 << 27, 0, 1 << 27], dilations: [1, 1 << 28], ..row(1 << 16, 2) };
    assert!(Packing::of(&spread, 30).is_err());
    assert_eq!(Packing::of(&square(1, 1 << 14, 1, 1 << 14, 1, 0, 1), 30), Err(Refusal::Window));
    assert!(Packing::of(&row(1 << 16, 1), 30).is_ok());
}

/// MobileNetV2's depthwise layers at 224x224: how many of each.
fn depthwise_layers() -> Vec<(usize, Geometry)> {
    let layers = [
        (1, 32, 112, 1),
        (1, 96, 112, 2),
        (1, 144, 56, 1),
        (1, 144, 56, 2),
        (2, 192, 28, 1),
        (1, 192, 28, 2),
        (4, 384, 14, 1),
        (2, 576, 14, 1),
        (1, 576, 14, 2),
        (3, 960, 7, 1),
    ];
    let geometry = |(count, channels, size, stride)| (count, square(channels, size, channels, 3, stride, 1, channels));
    layers.map(geometry).to_vec()
}

/// ResNet-50's linear layers at 224x224: how many of each.
fn resnet50_layers() -> Vec<(usize, Geometry)> {
    let layer =
        |channels, size, outputs, kernel, stride| square(channels, size, outputs, kernel, stride, kernel / 2, 1);
    let mut layers = vec![(1, layer(3, 224, 64, 7, 2)), (1, Geometry::dense(2048, 1000))];
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (width, size) = (64 << stage, 56 >> stage);
        let (before, stride, first) = if stage == 0 { (64, 1, 1) } else { (2 * width, 2, 2) };
        // The first block, which may reduce the image in the middle, and the others.
        layers.push((1, layer(before, size * first, width, 1, 1)));
        layers.push((1, layer(width, size * first, width, 3, stride)));
        layers.push((1, layer(before, size * first, 4 * width, 1, stride)));
        layers.push((blocks, layer(width, size, 4 * width, 1, 1)));
        layers.push((blocks - 1, layer(4 * width, size, width, 1, 1)));
        layers.push((blocks - 1, layer(width, size, width, 3, 1)));
    }
    assert_eq!(layers.iter().map(|(count, _)| count).sum::<usize>(), 54);
    layers
}

fn bytes(layers: &[(usize, Geometry)], packing: impl Fn(&Geometry) -> Packing) -> usize {
    let bytes = layers.iter().map(|(count, geometry)| {
        let packing = packing(geometry);
        count * (packing.upload_bytes() + packing.download_bytes())
    });
    bytes.sum()
}

#[test]
fn a_residual_network_takes_few_bytes_and_fewer_with_output_packing() {
    let layers = resnet50_layers();
    let plain = bytes(&layers, |geometry| Packing::of(geometry, 32).unwrap());
    assert!(plain <= 463_000_000, "{plain}");
    let levels = layers.iter().map(|(_, geometry)| Packing::packed(geometry, 32).unwrap().levels()).max().unwrap();
    let keys = interleaved::key_bytes(levels);
    let packed = keys + bytes(&layers, |geometry| Packing::packed(geometry, 32).unwrap());
    assert!(packed <= 292_000_000, "{packed}, {keys} of it keys");
    let switches: usize =
        layers.iter().map(|(count, geometry)| count * Packing::packed(geometry, 32).unwrap().switches()).sum();
    assert!(switches <= 16_000, "{switches}");
}

#[test]
fn packed_results_of_every_width_can_be_hidden_but_the_widest() {
    let geometry = square(512, 7, 512, 3, 1, 1, 1);
    for acc_bits in [20, 28, 32, 33] {
        let packing = Packing::packed(&geometry, acc_bits).unwrap();
        assert!(packing.levels() >= 4 && packing.noise(12).is_ok(), "{acc_bits}");
    }
    // The figures of SECURITY.md.
    for (acc_bits, hiding) in [(28, 45.7), (32, 41.7)] {
        let bits = Noise::new(acc_bits, 12, 4608, interleaved::MAX_LEVELS).unwrap().hiding_bits();
        assert!((bits - hiding).abs() < 0.06, "{bits}");
    }
    let widest = Packing::packed(&geometry, 34).unwrap();
    assert!(matches!(widest.noise(12), Err(Refusal::Flood { .. })));
}

#[test]
fn depthwise_layers_of_a_network_take_few_bytes() {
    for acc_bits in [24, 28, 30] {
        let plain = bytes(&depthwise_layers(), |geometry| Packing::of(geometry, acc_bits).unwrap());
        assert!(plain <= 130_000_000, "{plain} at {acc_bits}");
        let packed = bytes(&depthwise_layers(), |geometry| Packing::packed(geometry, acc_bits).unwrap());
        assert!(packed <= 90_000_000, "{packed} at {acc_bits}");
    }
}
