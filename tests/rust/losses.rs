//! Losses.

use recurrust::losses::Reduction;
use recurrust::losses::classification::{CrossEntropy, Targets};
use recurrust::losses::regression::Regression;

const PLAIN: CrossEntropy = CrossEntropy {
    class_weights: None,
    ignore_index: None,
    label_smoothing: 0.0,
};

#[test]
fn squared_and_absolute() {
    let (pred, target) = ([1.0f64, 2.0, 4.0], [0.0, 2.0, 6.0]);
    for (loss, value, gradient) in [
        (Regression::Squared, 5.0, [2.0, 0.0, -4.0]),
        (Regression::Absolute, 3.0, [1.0, 0.0, -1.0]),
    ] {
        let elements = loss.elements(&pred, &target, true).expect("fits");
        let reduced = elements.reduce(Reduction::Sum).expect("fits");
        assert!((reduced.value - value).abs() < 1e-15);
        assert_eq!(reduced.gradient.as_deref(), Some(&gradient[..]));
    }
}

#[test]
fn elements_of_weight_zero_may_be_anything() {
    let mut elements = Regression::Squared
        .elements(&[1.0f64, f64::NAN], &[0.0, 0.0], true)
        .expect("fits");
    elements.reweight(&[1.0, 0.0]).expect("fits");
    let reduced = elements.reduce(Reduction::Mean).expect("fits");
    assert!((reduced.value - 1.0).abs() < 1e-15);
    assert_eq!(reduced.gradient.as_deref(), Some(&[2.0, 0.0][..]));
}

#[test]
fn cross_entropy_of_extreme_logits() {
    let elements = PLAIN
        .elements(&[1000.0f64, -1000.0], 2, Targets::Indices(&[1]), None, true)
        .expect("the class exists");
    let reduced = elements.reduce(Reduction::Mean).expect("fits");
    assert!((reduced.value - 2000.0).abs() < 1e-12);
    assert_eq!(reduced.gradient.as_deref(), Some(&[1.0, -1.0][..]));
}

#[test]
fn a_class_that_does_not_exist_is_named() {
    let error = PLAIN
        .elements(&[0.0f64; 6], 3, Targets::Indices(&[0, 3]), None, false)
        .expect_err("there is no class 3");
    assert_eq!(
        error.to_string(),
        "target[1]: expected a class from 0 to 2, got 3"
    );
}

#[test]
fn a_masked_sample_may_have_any_target() {
    let factors = Some(&[1.0, 0.0][..]);
    let mut elements = PLAIN
        .elements(&[0.0f64; 6], 3, Targets::Indices(&[0, -1]), factors, false)
        .expect("the masked target is never looked at");
    elements.reweight(&[1.0, 0.0]).expect("fits");
    let reduced = elements.reduce(Reduction::Mean).expect("fits");
    assert!((reduced.value - 3f64.ln()).abs() < 1e-15);
}
