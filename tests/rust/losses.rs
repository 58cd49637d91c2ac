//! Losses.

use recurrust::losses::classification::{CrossEntropy, Targets};
use recurrust::losses::regression::Regression;
use recurrust::simd::InstructionSet;

const SET: InstructionSet = InstructionSet::Portable;
use recurrust::losses::{Extent, Reduction, Request};

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
fn squared_and_absolute() {
    let (pred, target) = ([1.0f64, 2.0, 4.0], [0.0, 2.0, 6.0]);
    for (loss, value, gradient) in [
        (Regression::Squared, 5.0, [2.0, 0.0, -4.0]),
        (Regression::Absolute, 3.0, [1.0, 0.0, -1.0]),
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
