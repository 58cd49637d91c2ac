//! Losses.

use recurrust::losses::binary::BinaryCrossEntropy;
use recurrust::losses::classification::{CrossEntropy, Targets};
use recurrust::losses::distribution::{Gaussian, Quantiles};
use recurrust::losses::regression::Regression;
use recurrust::simd::InstructionSet;

const SET: InstructionSet = InstructionSet::Portable;
use recurrust::losses::{Extent, Reduced, Reduction, Request};

const PLAIN: CrossEntropy = CrossEntropy {
    class_weights: None,
    ignore_index: None,
    label_smoothing: 0.0,
};

fn request(weights: Option<&[f64]>, reduction: Reduction) -> Request<'_, f64> {
    Request {
        weights,
        reduction,
        extent: Extent::Gradient,
    }
}

#[test]
fn losses_of_differences() {
    let (pred, target) = ([1.0f64, 2.0, 4.0], [0.0, 2.0, 6.0]);
    for (loss, value, gradient) in [
        (Regression::Squared, 5.0, [2.0, 0.0, -4.0]),
        (Regression::Absolute, 3.0, [1.0, 0.0, -1.0]),
        (Regression::Huber { delta: 1.5 }, 2.375, [1.0, 0.0, -1.5]),
        (Regression::SmoothL1 { beta: 2.0 }, 1.25, [0.5, 0.0, -1.0]),
        (Regression::SmoothL1 { beta: 0.0 }, 3.0, [1.0, 0.0, -1.0]),
    ] {
        let request = request(None, Reduction::Sum);
        let reduced = loss.reduce(SET, &pred, &target, request).expect("fits");
        assert!((reduced.value - value).abs() < 1e-15);
        assert_eq!(reduced.gradient.as_deref(), Some(&gradient[..]));
    }
}

#[test]
fn elements_of_weight_zero_may_be_anything() {
    let request = request(Some(&[1.0, 0.0]), Reduction::Mean);
    let reduced = Regression::Squared
        .reduce(SET, &[1.0, f64::NAN], &[0.0, 0.0], request)
        .expect("fits");
    assert!((reduced.value - 1.0).abs() < 1e-15);
    assert_eq!(reduced.gradient.as_deref(), Some(&[2.0, 0.0][..]));
}

#[test]
fn cross_entropy_of_extreme_logits() {
    let request = request(None, Reduction::Mean);
    let reduced = PLAIN
        .reduce(SET, &[1000.0, -1000.0], 2, Targets::Indices(&[1]), request)
        .expect("the class exists");
    assert!((reduced.value - 2000.0).abs() < 1e-12);
    assert_eq!(reduced.gradient.as_deref(), Some(&[1.0, -1.0][..]));
}

#[test]
fn a_class_that_does_not_exist_is_named() {
    let request = request(None, Reduction::Mean);
    let error = PLAIN
        .reduce(SET, &[0.0; 6], 3, Targets::Indices(&[0, 3]), request)
        .expect_err("there is no class 3");
    assert_eq!(
        error.to_string(),
        "target[1]: expected a class from 0 to 2, got 3"
    );
}

#[test]
fn a_masked_sample_may_have_any_target() {
    let request = request(Some(&[1.0, 0.0]), Reduction::Mean);
    let reduced = PLAIN
        .reduce(SET, &[0.0; 6], 3, Targets::Indices(&[0, -1]), request)
        .expect("the masked target is never looked at");
    assert!((reduced.value - 3f64.ln()).abs() < 1e-15);
}

#[test]
fn losses_of_differences_have_the_same_bits_on_every_set() {
    let (pred, target) = (waves(1000, 0.1), waves(1000, 0.2));
    for loss in [
        Regression::Squared,
        Regression::Absolute,
        Regression::Huber { delta: 1.3 },
        Regression::SmoothL1 { beta: 1.3 },
    ] {
        let request = request(None, Reduction::Mean);
        let expected = loss.reduce(SET, &pred, &target, request).expect("fits");
        for set in InstructionSet::ALL
            .into_iter()
            .filter(|set| set.is_available())
        {
            let got = loss.reduce(set, &pred, &target, request).expect("fits");
            assert_eq!(got.value.to_bits(), expected.value.to_bits(), "{set:?}");
            assert_eq!(got.gradient, expected.gradient, "{set:?}");
        }
    }
}

#[test]
fn long_losses_of_every_reduction() {
    for count in [1usize, 255, 256, 257, 1000] {
        let numbers = |seed: f64| -> Vec<f64> {
            (0..count)
                .map(|index| (seed + 1.7 * index as f64).sin())
                .collect()
        };
        let (pred, target) = (numbers(0.1), numbers(0.2));
        let mut weights: Vec<f64> = numbers(0.3).iter().map(|w| w + 1.5).collect();
        weights[count / 2] = 0.0;
        for given in [None, Some(&weights[..])] {
            let weight = |at: usize| given.map_or(1.0, |weights| weights[at]);
            let losses: Vec<f64> = (0..count)
                .map(|at| weight(at) * (pred[at] - target[at]).powi(2))
                .collect();
            let (sum, total) = (
                losses.iter().sum::<f64>(),
                (0..count).map(weight).sum::<f64>(),
            );
            for (reduction, expected, scale) in [
                // One element of weight zero: the mean of nothing.
                (
                    Reduction::Mean,
                    if total == 0.0 { 0.0 } else { sum / total },
                    1.0 / total,
                ),
                (Reduction::Sum, sum, 1.0),
                (Reduction::None, sum, 1.0),
            ] {
                let mut request = request(given, reduction);
                let reduced = Regression::Squared
                    .reduce(SET, &pred, &target, request)
                    .expect("fits");
                assert!((reduced.value - expected).abs() <= 1e-14 * expected);
                assert!((reduced.weight - total).abs() <= 1e-14 * total);
                let gradient = reduced.gradient.expect("was asked for");
                for set in InstructionSet::ALL
                    .into_iter()
                    .filter(|set| set.is_available())
                {
                    let again = Regression::Squared
                        .reduce(set, &pred, &target, request)
                        .expect("fits");
                    assert_eq!(again.value.to_bits(), reduced.value.to_bits(), "{set:?}");
                    assert_eq!(again.gradient.as_ref(), Some(&gradient), "{set:?}");
                }
                for at in 0..count {
                    let factor = if weight(at) == 0.0 {
                        0.0
                    } else {
                        weight(at) * scale
                    };
                    let expected = factor * 2.0 * (pred[at] - target[at]);
                    assert!((gradient[at] - expected).abs() <= 1e-15, "{at} of {count}");
                }
                match reduced.elements {
                    Some(elements) => {
                        assert_eq!(reduction, Reduction::None);
                        assert_eq!(elements, losses);
                    }
                    None => assert_ne!(reduction, Reduction::None),
                }
                request.extent = Extent::Weight;
                let reduced = Regression::Squared
                    .reduce(SET, &pred, &target, request)
                    .expect("fits");
                assert!((reduced.weight - total).abs() <= 1e-14 * total);
                assert!(reduced.gradient.is_none() && reduced.elements.is_none());
            }
        }
    }
}

#[test]
fn cross_entropies_agree_on_every_set() {
    let classes = 37;
    let numbers = |count: usize, seed: f64| -> Vec<f64> {
        (0..count)
            .map(|index| 9.0 * (seed + 1.7 * index as f64).sin())
            .collect()
    };
    let logits = numbers(5 * classes, 0.1);
    let targets = Targets::Indices(&[0, 36, 7, 8, 20]);
    let request = request(Some(&[1.0, 2.0, 0.5, 0.0, 1.0]), Reduction::Mean);
    let expected = PLAIN
        .reduce(SET, &logits, classes, targets, request)
        .expect("fits");
    for set in InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_available())
    {
        let got = PLAIN
            .reduce(set, &logits, classes, targets, request)
            .expect("fits");
        assert!((got.value - expected.value).abs() < 1e-13, "{set:?}");
        let gradients = got.gradient.iter().zip(&expected.gradient);
        for (got, expected) in gradients.flat_map(|(got, expected)| got.iter().zip(expected)) {
            assert!((got - expected).abs() < 1e-15, "{set:?}");
        }
    }
}

/// Numbers of both signs that don't repeat, in -9..9.
fn waves(count: usize, seed: f64) -> Vec<f64> {
    (0..count)
        .map(|index| 9.0 * (seed + 1.7 * index as f64).sin())
        .collect()
}

/// Checks a loss with so many predictions an element against its formula, its slopes against
/// differences, on every set, around the length of a block, with weights and without.
fn check_blocks(
    width: usize,
    reduce: impl Fn(InstructionSet, &[f64], &[f64], Request<'_, f64>) -> Reduced<f64>,
    formula: impl Fn(&[f64], f64, usize) -> f64,
) {
    for count in [0usize, 1, 7, 255, 256, 257, 600] {
        let predictions = waves(count * width, 0.1);
        let targets: Vec<f64> = waves(count, 0.2).iter().map(|t| t.abs() / 9.0).collect();
        let mut weights: Vec<f64> = waves(count, 0.3).iter().map(|w| w.abs()).collect();
        if let Some(weight) = weights.last_mut() {
            *weight = 0.0;
        }
        for given in [None, Some(&weights[..])] {
            let weight = |at: usize| given.map_or(1.0, |weights| weights[at]);
            let row = |at: usize| predictions[at * width..][..width].to_vec();
            let losses: Vec<f64> = (0..count)
                .map(|at| weight(at) * formula(&row(at), targets[at], at))
                .collect();
            let sum = losses.iter().sum::<f64>();
            for set in InstructionSet::ALL
                .into_iter()
                .filter(|set| set.is_available())
            {
                let request = request(given, Reduction::None);
                let reduced = reduce(set, &predictions, &targets, request);
                let close = |got: f64, expected: f64, tolerance: f64| {
                    let scale = 1.0 + expected.abs();
                    assert!(
                        (got - expected).abs() < tolerance * scale,
                        "{set:?}, {count}: {got} instead of {expected}"
                    );
                };
                close(reduced.value, sum, 1e-12);
                let elements = reduced.elements.expect("not reduced");
                for (&got, &expected) in elements.iter().zip(&losses) {
                    close(got, expected, 1e-13);
                }
                let gradient = reduced.gradient.expect("was asked for");
                assert_eq!(gradient.len(), count * width);
                for at in 0..count {
                    for place in 0..width {
                        let moved = |step: f64| {
                            let mut row = row(at);
                            row[place] += step;
                            formula(&row, targets[at], at)
                        };
                        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                        close(gradient[at * width + place], weight(at) * slope, 1e-6);
                    }
                }
            }
        }
    }
}

#[test]
fn answers() {
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    for positive_weights in [None, Some(vec![2.5]), Some(vec![0.5, 1.0, 3.0])] {
        let loss = BinaryCrossEntropy { positive_weights };
        check_blocks(
            1,
            |set, p, t, request| loss.reduce(set, p, t, request).expect("fits"),
            |row, target, at| {
                let weights = loss.positive_weights.as_deref().unwrap_or(&[1.0]);
                let weight = weights[at % weights.len()];
                (1.0 - target) * softplus(row[0]) + weight * target * softplus(-row[0])
            },
        );
    }
}

#[test]
fn the_logarithm_of_one_and_a_power_keeps_its_digits() {
    let loss = BinaryCrossEntropy {
        positive_weights: None,
    };
    let logits: Vec<f64> = (0..20_000).map(|index| f64::from(index) * 0.005).collect();
    let ones = vec![1.0; logits.len()];
    for set in InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_available())
    {
        let request = request(None, Reduction::None);
        let reduced = loss.reduce(set, &logits, &ones, request).expect("fits");
        for (logit, got) in logits.iter().zip(reduced.elements.expect("not reduced")) {
            let expected = (-logit).exp().ln_1p();
            // The power's own error grows with its exponent.
            let bound = (4.0 + 2.0 * logit) * f64::EPSILON;
            assert!((got / expected - 1.0).abs() < bound, "{set:?}, {logit}");
        }
    }
}

#[test]
fn quantiles() {
    for levels in [vec![0.5], vec![0.1, 0.25, 0.9], vec![0.6; 17]] {
        let loss = Quantiles { levels };
        check_blocks(
            loss.levels.len(),
            |set, p, t, request| loss.reduce(set, p, t, request).expect("fits"),
            |row, target, _| {
                let costs = row.iter().zip(&loss.levels).map(|(prediction, level)| {
                    let short = target - prediction;
                    (level * short).max((level - 1.0) * short)
                });
                costs.sum::<f64>() / row.len() as f64
            },
        );
    }
}

#[test]
fn normal_distributions() {
    for full in [false, true] {
        let constant = if full { 0.918_938_533_204_672_7 } else { 0.0 };
        check_blocks(
            2,
            |set, p, t, request| Gaussian { full }.reduce(set, p, t, request).expect("fits"),
            |row, target, _| {
                let square = (target - row[0]).powi(2) / row[1].exp();
                0.5 * (row[1] + square) + constant
            },
        );
    }
}
