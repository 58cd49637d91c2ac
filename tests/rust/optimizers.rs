//! Optimizers and clipping.

use recurrust::optimizers::clip::{JointNorm, clamp, scale};
use recurrust::optimizers::{Adam, Rule, Sgd};

fn adam() -> Rule {
    Rule::Adam(Adam {
        lr: 1e-3,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.0,
        amsgrad: false,
        maximize: false,
        decoupled: false,
    })
}

#[test]
fn adams_first_step_is_the_learning_rate_for_every_tensor() {
    for _ in 0..2 {
        let mut memory = adam().memory(1).expect("fits");
        let mut value = [1.0f64];
        adam().update(&mut value, &[0.1], &mut memory);
        assert!((value[0] - 0.999).abs() < 1e-9);
        assert_eq!(memory.updates, 1);
    }
}

#[test]
fn adam_survives_many_steps() {
    let mut memory = adam().memory(1).expect("fits");
    memory.updates = u64::MAX / 2;
    let mut value = [1.0f64];
    adam().update(&mut value, &[0.1], &mut memory);
    assert!(value[0].is_finite());
}

#[test]
fn momentum_starts_from_the_first_gradient() {
    let rule = Rule::Sgd(Sgd {
        lr: 0.1,
        momentum: 0.9,
        dampening: 0.5,
        weight_decay: 0.0,
        nesterov: false,
        maximize: false,
    });
    let mut memory = rule.memory(1).expect("fits");
    let mut value = [1.0f64];
    rule.update(&mut value, &[1.0], &mut memory);
    assert!((value[0] - 0.9).abs() < 1e-15);
    rule.update(&mut value, &[1.0], &mut memory);
    // velocity = 0.9 * 1 + 0.5 * 1
    assert!((value[0] - (0.9 - 0.14)).abs() < 1e-15);
}

#[test]
fn the_joint_norm_neither_overflows_nor_vanishes() {
    for magnitude in [1.0, 1e200, 1e-200] {
        let mut norm = JointNorm::default();
        norm.add(&[3.0 * magnitude]);
        norm.add(&[0.0]);
        norm.add(&[4.0 * magnitude]);
        assert!((norm.value() / (5.0 * magnitude) - 1.0).abs() < 1e-15);
    }
    let mut norm = JointNorm::default();
    norm.add(&[1.0, f64::INFINITY]);
    assert!(norm.value().is_infinite());
    norm.add(&[f64::NAN]);
    assert!(norm.value().is_nan());
    assert!(norm.factor(1.0).is_nan());
}

#[test]
fn scaling_and_clamping() {
    let mut values = [3.0f64, -4.0, f64::NAN];
    clamp(&mut values, 3.5);
    assert_eq!(values[..2], [3.0, -3.5]);
    assert!(values[2].is_nan());
    scale(&mut values, 2.0);
    assert_eq!(values[..2], [6.0, -7.0]);
}
