//! Activations against the standard library in double precision.

use recurrust::simd::{Portable, Vector};

/// The distance of a single-precision number from the truth, in units of the truth's last place.
#[allow(clippy::cast_possible_truncation)] // rounding is what is measured
fn ulps(got: f32, truth: f64) -> f64 {
    let nearest = truth as f32;
    if nearest == 0.0 {
        return f64::from(got).abs() / f64::from(f32::MIN_POSITIVE);
    }
    let place = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
    ((f64::from(got) - truth) / place).abs()
}

fn true_sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn check_single(bits: u32) {
    let x = f32::from_bits(bits);
    if !x.is_finite() {
        return;
    }
    let wide = f64::from(x);
    let sigmoid = Portable([x]).sigmoid().0[0];
    let truth = true_sigmoid(wide);
    // Below the normal numbers the cells flush to zero.
    if truth >= f64::from(f32::MIN_POSITIVE) {
        assert!(ulps(sigmoid, truth) <= 3.0, "sigmoid({x:e}) = {sigmoid:e}");
    } else {
        assert!(sigmoid <= f32::MIN_POSITIVE, "sigmoid({x:e}) = {sigmoid:e}");
    }
    let tanh = Portable([x]).tanh().0[0];
    if x.abs() >= f32::MIN_POSITIVE {
        assert!(ulps(tanh, wide.tanh()) <= 3.0, "tanh({x:e}) = {tanh:e}");
    }
}

#[test]
fn single_precision_sampled() {
    // Every 4099th number of all that there are; the step is prime.
    for bits in (0..=u32::MAX).step_by(4099) {
        check_single(bits);
    }
}

#[test]
#[ignore = "all 2^32 numbers take five minutes; the sampled sweep above always runs"]
fn single_precision_exhaustive() {
    for bits in 0..=u32::MAX {
        check_single(bits);
    }
}

#[test]
fn double_precision() {
    let mut magnitude = 1e-300;
    while magnitude < 700.0 {
        for x in [magnitude, -magnitude] {
            let sigmoid = Portable([x]).sigmoid().0[0];
            let truth = true_sigmoid(x);
            assert!(
                (sigmoid / truth - 1.0).abs() <= 1e-15,
                "sigmoid({x:e}) = {sigmoid:e}, not {truth:e}"
            );
            let tanh = Portable([x]).tanh().0[0];
            assert!(
                (tanh / x.tanh() - 1.0).abs() <= 1e-15,
                "tanh({x:e}) = {tanh:e}, not {:e}",
                x.tanh()
            );
        }
        magnitude *= if magnitude < 1e-3 { 1.7 } else { 1.000_37 };
    }
}

#[test]
fn saturation_and_special_values() {
    for x in [1e4f64, 1e300, f64::INFINITY] {
        assert_eq!(Portable([x]).sigmoid().0[0].to_bits(), 1.0f64.to_bits());
        assert_eq!(Portable([-x]).sigmoid().flush_tiny().0[0].to_bits(), 0);
        assert_eq!(Portable([x]).tanh().0[0].to_bits(), 1.0f64.to_bits());
        assert_eq!(Portable([-x]).tanh().0[0].to_bits(), (-1.0f64).to_bits());
    }
    for x in [1e4f32, 1e30, f32::INFINITY] {
        assert_eq!(Portable([x]).sigmoid().0[0].to_bits(), 1.0f32.to_bits());
        assert_eq!(Portable([-x]).sigmoid().flush_tiny().0[0].to_bits(), 0);
        assert_eq!(Portable([x]).tanh().0[0].to_bits(), 1.0f32.to_bits());
        assert_eq!(Portable([-x]).tanh().0[0].to_bits(), (-1.0f32).to_bits());
    }
    assert!(Portable([f64::NAN]).sigmoid().0[0].is_nan());
    assert!(Portable([f64::NAN]).tanh().0[0].is_nan());
    assert!(Portable([f32::NAN]).sigmoid().0[0].is_nan());
    assert!(Portable([f32::NAN]).tanh().0[0].is_nan());
    assert_eq!(Portable([0.0f64]).tanh().0[0].abs().to_bits(), 0);
}
