//! Optimizers and clipping.

use recurrust::optimizers::clip::{JointNorm, clamp, scale};
use recurrust::optimizers::{Adadelta, Adagrad, Adam, Memory, NAdam, RAdam, RmsProp, Rule, Sgd};
use recurrust::simd::{InstructionSet, Kernel, SimdFloat, Vector, dispatch};

const SET: InstructionSet = InstructionSet::Portable;

/// Around the lengths of registers, and long.
const SIZES: [usize; 6] = [0, 1, 3, 15, 17, 1000];

/// So many updates that `RAdam`'s second moment counts.
const STEPS: i32 = 8;

fn sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_available())
}

/// Numbers of both signs that don't repeat, in -1..1.
fn numbers<F: SimdFloat>(len: usize, seed: f64) -> Vec<F> {
    (0..len)
        .map(|index| F::of((seed + 1.7 * index as f64).sin()))
        .collect()
}

fn adam() -> Rule {
    Rule::Adam(Adam::default())
}

#[test]
fn adams_first_step_is_the_learning_rate_for_every_tensor() {
    for _ in 0..2 {
        let mut memory = adam().memory(1).expect("fits");
        let mut value = [1.0f64];
        adam().update(SET, &mut value, &[0.1], &mut memory);
        assert!((value[0] - 0.999).abs() < 1e-9);
        assert_eq!(memory.updates, 1);
    }
}

#[test]
fn adam_survives_many_steps() {
    let mut memory = adam().memory(1).expect("fits");
    memory.updates = u64::MAX / 2;
    let mut value = [1.0f64];
    adam().update(SET, &mut value, &[0.1], &mut memory);
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
    rule.update(SET, &mut value, &[1.0], &mut memory);
    assert!((value[0] - 0.9).abs() < 1e-15);
    rule.update(SET, &mut value, &[1.0], &mut memory);
    // velocity = 0.9 * 1 + 0.5 * 1
    assert!((value[0] - (0.9 - 0.14)).abs() < 1e-15);
}

#[test]
fn what_an_option_needs_is_added_and_stays() {
    let plain = RmsProp::default();
    let momentum = Rule::RmsProp(RmsProp {
        momentum: 0.5,
        ..plain.clone()
    });
    let plain = Rule::RmsProp(plain);
    let names = |memory: &Memory<f64>| -> Vec<&str> {
        memory.arrays.iter().map(|(name, _)| *name).collect()
    };
    let mut memory = plain.memory(1).expect("fits");
    let mut value = [1.0f64];
    plain.update(SET, &mut value, &[0.1], &mut memory);
    assert_eq!(names(&memory), ["square_avg"]);
    let square = memory.arrays[0].1.clone();
    momentum.complete(&mut memory, 1).expect("fits");
    assert_eq!(names(&memory), ["square_avg", "momentum_buffer"]);
    assert_eq!(memory.arrays[0].1, square);
    assert_eq!(memory.arrays[1].1, [0.0]);
    momentum.update(SET, &mut value, &[0.1], &mut memory);
    let velocity = memory.arrays[1].1.clone();
    assert!(velocity[0] > 1.0);
    plain.complete(&mut memory, 1).expect("fits");
    plain.update(SET, &mut value, &[0.1], &mut memory);
    assert_eq!(memory.arrays[1].1, velocity);
    assert_eq!(
        plain.all_memory_names(),
        ["square_avg", "momentum_buffer", "grad_avg"]
    );
}

#[test]
fn the_joint_norm_neither_overflows_nor_vanishes() {
    for magnitude in [1.0, 1e200, 1e-200] {
        let mut norm = JointNorm::default();
        norm.add(SET, &[3.0 * magnitude]);
        norm.add(SET, &[0.0]);
        norm.add(SET, &[4.0 * magnitude]);
        assert!((norm.value() / (5.0 * magnitude) - 1.0).abs() < 1e-15);
    }
    let mut norm = JointNorm::default();
    norm.add(SET, &[1.0, f64::INFINITY]);
    assert!(norm.value().is_infinite());
    norm.add(SET, &[f64::NAN]);
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

fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (plain, weight_decay) in [(true, 0.0), (false, 0.1)] {
        rules.push(Rule::Sgd(Sgd {
            lr: 0.1,
            momentum: if plain { 0.0 } else { 0.9 },
            dampening: 0.0,
            weight_decay,
            nesterov: !plain,
            maximize: plain,
        }));
        rules.push(Rule::Adam(Adam {
            lr: 0.1,
            betas: (0.9, 0.99),
            eps: 1e-8,
            weight_decay,
            amsgrad: !plain,
            maximize: !plain,
            decoupled: !plain,
        }));
        rules.push(Rule::RmsProp(RmsProp {
            lr: 0.1,
            alpha: 0.9,
            eps: 1e-3,
            weight_decay,
            momentum: if plain { 0.0 } else { 0.9 },
            centered: !plain,
            maximize: plain,
        }));
        rules.push(Rule::Adagrad(Adagrad {
            lr_decay: if plain { 0.0 } else { 0.5 },
            weight_decay,
            initial_accumulator_value: 0.1,
            maximize: plain,
            ..Adagrad::default()
        }));
        rules.push(Rule::Adadelta(Adadelta {
            weight_decay,
            maximize: !plain,
            ..Adadelta::default()
        }));
        rules.push(Rule::NAdam(NAdam {
            weight_decay,
            decoupled: plain,
            maximize: plain,
            ..NAdam::default()
        }));
        rules.push(Rule::RAdam(RAdam {
            // The second moment counts from the fifth update on, or not within a few.
            betas: (0.9, if plain { 0.99 } else { 0.9 }),
            eps: 1e-3,
            weight_decay,
            decoupled: !plain,
            maximize: plain,
            ..RAdam::default()
        }));
    }
    rules
}

/// The values after a few updates.
fn updated<F: SimdFloat>(set: InstructionSet, rule: &Rule, len: usize) -> Vec<F> {
    let mut values = numbers(len, 0.5);
    let mut memory = rule.memory(len).expect("fits");
    for step in 0..STEPS {
        let gradient = numbers::<F>(len, f64::from(step));
        rule.update(set, &mut values, &gradient, &mut memory);
    }
    values
}

fn check_sets<F: SimdFloat>(tolerance: f64) {
    for rule in rules() {
        for len in SIZES {
            let expected = updated::<f64>(SET, &rule, len);
            // Every value by itself: neither its neighbours nor its place count.
            if let Some(last) = expected.last() {
                let mut memory = rule.memory(1).expect("fits");
                let place = len - 1;
                let mut value = [numbers::<f64>(len, 0.5)[place]];
                for step in 0..STEPS {
                    let gradient = numbers::<f64>(len, f64::from(step))[place];
                    rule.update(SET, &mut value, &[gradient], &mut memory);
                }
                assert!((value[0] - last).abs() < 1e-14, "{rule:?}, {len}");
            }
            for set in sets() {
                let got = updated::<F>(set, &rule, len);
                assert_eq!(got.len(), len);
                for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let error = (got.double() - expected).abs();
                    assert!(
                        error < tolerance,
                        "{set:?}, {rule:?}, {at} of {len}: {error:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn sets_agree_to_rounding() {
    check_sets::<f32>(1e-5);
    check_sets::<f64>(1e-13);
}

fn check_norms<F: SimdFloat>(magnitudes: &[f64]) {
    for &magnitude in magnitudes {
        for len in SIZES {
            let values: Vec<F> = numbers::<f64>(len, 0.5)
                .iter()
                .map(|number| F::of(number * magnitude))
                .collect();
            // Far from the limits of double precision.
            let squares = values.iter().map(|v| (v.double() / magnitude).powi(2));
            let expected = squares.sum::<f64>().sqrt();
            let mut first = None;
            for set in sets() {
                let mut norm = JointNorm::default();
                norm.add(set, &values);
                let norm = norm.value();
                assert!((norm / magnitude - expected).abs() <= 1e-14 * expected);
                assert_eq!(
                    *first.get_or_insert(norm.to_bits()),
                    norm.to_bits(),
                    "{set:?}, {magnitude}, {len}"
                );
            }
        }
    }
}

#[test]
fn norms_are_the_same_on_every_set() {
    check_norms::<f32>(&[1.0, 1e30, 1e-30]);
    check_norms::<f64>(&[1.0, 1e100, 1e160, 1e300, 1e-100, 1e-160, 1e-300]);
}

#[test]
fn tensors_of_all_magnitudes_join() {
    for [one, two] in [
        [3e300, 4e300],
        [3e-300, 4e-300],
        [3.0, 4.0],
        [3e-200, 4e-200],
    ] {
        let mut norm = JointNorm::default();
        norm.add(SET, &[one]);
        norm.add(SET, &[0.0]);
        norm.add(SET, &[two]);
        let expected = two / 4.0 * 5.0;
        assert!((norm.value() / expected - 1.0).abs() < 1e-15, "{one}");
    }
    for order in [
        [1e-200, 1.0, 1e200],
        [1e200, 1.0, 1e-200],
        [1.0, 1e200, 1e-200],
    ] {
        let mut norm = JointNorm::default();
        for value in order {
            norm.add(SET, &[value]);
        }
        assert!((norm.value() / 1e200 - 1.0).abs() < 1e-15, "{order:?}");
    }
    for order in [[f64::INFINITY, 1e200], [1e200, f64::NEG_INFINITY]] {
        let mut norm = JointNorm::default();
        for value in order {
            norm.add(SET, &[value]);
        }
        assert!(norm.value().is_infinite());
    }
}

#[test]
fn moments_that_fade_leave_the_subnormal_numbers() {
    for rule in rules() {
        let mut memory = rule.memory::<f32>(1).expect("fits");
        let mut value = [0.0];
        rule.update(SET, &mut value, &[1.0], &mut memory);
        for _ in 0..2000 {
            value = [0.0];
            rule.update(SET, &mut value, &[0.0], &mut memory);
        }
        for (name, array) in &memory.arrays {
            if ["exp_avg", "momentum_buffer", "grad_avg", "acc_delta"].contains(name) {
                assert!(array[0].abs() <= 0.0, "{rule:?}: {name}");
            }
        }
    }
}

/// Roots of a slice, written over another one.
struct Roots<'a, F>(&'a [F], &'a mut [F]);

impl<F: SimdFloat> Kernel<F> for Roots<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        V::from_slice(self.0).sqrt().to_slice(self.1);
    }
}

fn check_roots<F: SimdFloat>() {
    for set in sets() {
        let lanes = set.lanes::<F>();
        for len in 0..=lanes + 2 {
            let squares: Vec<F> = (0..len).map(|index| F::of(0.1 + index as f64)).collect();
            let mut roots = vec![F::of(7.0); len];
            dispatch(set, Roots(&squares, &mut roots));
            for (at, (root, square)) in roots.iter().zip(&squares).enumerate() {
                let expected = if at < lanes {
                    square.sqrt()
                } else {
                    F::of(7.0)
                };
                assert_eq!(*root, expected, "{set:?}, {at} of {len}");
            }
            let mut few = vec![F::of(7.0); len.min(2)];
            dispatch(set, Roots(&[F::of(4.0)], &mut few));
            let expected = [F::of(2.0), F::of(0.0)];
            let count = few.len().min(lanes);
            assert_eq!(few[..count], expected[..count]);
        }
    }
}

#[test]
fn roots_are_rounded_exactly_whatever_part_of_a_register_is_filled() {
    check_roots::<f32>();
    check_roots::<f64>();
}

#[test]
fn the_product_is_multiplied_once_an_update_and_belongs_to_one_parameter() {
    let rule = Rule::NAdam(NAdam::default());
    assert_eq!(rule.product_name(), Some("mu_product"));
    let (mut one, mut two) = (rule.memory(1).expect("fits"), rule.memory(1).expect("fits"));
    let mut value = [1.0f64];
    let mut expected = 1.0f64;
    for number in 1..=3 {
        rule.update(SET, &mut value, &[0.1], &mut one);
        expected *= 0.9 * (1.0 - 0.5 * 0.96f64.powf(4e-3 * f64::from(number)));
    }
    rule.update(SET, &mut value, &[0.1], &mut two);
    let product = |memory: &recurrust::optimizers::Memory<f64>| memory.product.expect("has one").1;
    // In single precision, as PyTorch's.
    assert!((product(&one) - expected).abs() < 1e-7);
    assert!((product(&two) - 0.45).abs() < 1e-3);
    assert!(adam().memory::<f64>(1).expect("fits").product.is_none());
}

#[test]
fn sums_start_where_they_are_told_to() {
    let rule = Rule::Adagrad(Adagrad {
        initial_accumulator_value: 9.0,
        eps: 0.0,
        ..Adagrad::default()
    });
    let mut memory = rule.memory(3).expect("fits");
    assert_eq!(memory.arrays, [("sum", vec![9.0f64; 3])]);
    let mut values = [1.0f64; 3];
    rule.update(SET, &mut values, &[4.0, 0.0, -4.0], &mut memory);
    assert_eq!(memory.arrays[0].1, [25.0, 9.0, 25.0]);
    for (value, expected) in values.iter().zip([0.992, 1.0, 1.008]) {
        assert!((value - expected).abs() < 1e-15);
    }
}

#[test]
fn relatives_of_adam_survive_many_steps() {
    for rule in [
        Rule::NAdam(NAdam::default()),
        Rule::RAdam(RAdam::default()),
        Rule::Adagrad(Adagrad::default()),
    ] {
        let mut memory = rule.memory(1).expect("fits");
        memory.updates = u64::MAX / 2;
        let mut value = [1.0f64];
        rule.update(SET, &mut value, &[0.1], &mut memory);
        assert!(value[0].is_finite() && value[0] < 1.0, "{rule:?}");
    }
}
