//! The operations of a register, on every instruction set, against the same on single numbers.

use recurrust::float::Float;
use recurrust::simd::{InstructionSet, Kernel, SimdFloat, Vector, dispatch};

fn sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_available())
}

/// What is made of two numbers a and b.
const OPERATIONS: [&str; 12] = [
    "a + b",
    "a - b",
    "a * b",
    "a / b",
    "-a",
    "sqrt(a)",
    "a at most b",
    "a at least b",
    "one, or zero where a >= b",
    "a, or zero where 1 >= b",
    "a without tiny numbers",
    "a * b + a",
];

/// All operations on pairs of numbers.
struct Operations<'a, F>(&'a [(F, F)]);

impl<F: SimdFloat> Kernel<F> for Operations<'_, F> {
    type Output = Vec<[F; OPERATIONS.len()]>;

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) -> Self::Output {
        let one = V::splat(F::one());
        let mut results = Vec::new();
        for pairs in self.0.chunks(V::LANES) {
            let numbers = |of: fn(&(F, F)) -> F| pairs.iter().map(of).collect::<Vec<_>>();
            let a = V::from_slice(&numbers(|pair| pair.0));
            let b = V::from_slice(&numbers(|pair| pair.1));
            let registers = [
                a + b,
                a - b,
                a * b,
                a / b,
                -a,
                a.sqrt(),
                a.at_most(b),
                a.at_least(b),
                one.zero_from(a, b),
                a.zero_from(one, b),
                a.flush_tiny(),
                a.mul_add(b, a),
            ];
            let mut lanes = vec![[F::zero(); OPERATIONS.len()]; pairs.len()];
            for (operation, register) in registers.into_iter().enumerate() {
                let mut numbers = vec![F::zero(); pairs.len()];
                register.to_slice(&mut numbers);
                for (lane, number) in lanes.iter_mut().zip(numbers) {
                    lane[operation] = number;
                }
            }
            results.extend(lanes);
        }
        results
    }
}

/// The same on single numbers. `fused` multiplies and adds with one rounding.
fn expected<F: Float>(a: F, b: F, fused: bool) -> [F; OPERATIONS.len()] {
    let (zero, one) = (F::zero(), F::one());
    [
        a + b,
        a - b,
        a * b,
        a / b,
        -a,
        a.sqrt(),
        if a > b { b } else { a },
        if a < b { b } else { a },
        if a >= b { zero } else { one },
        if one >= b { zero } else { a },
        if a.abs() < F::min_positive_value() {
            zero
        } else {
            a
        },
        if fused { a.mul_add(b, a) } else { a * b + a },
    ]
}

/// Ordinary numbers, both zeros, the limits of the normal ones, and what isn't a number.
fn numbers<F: Float>() -> Vec<F> {
    let tiny = F::min_positive_value();
    let mut numbers: Vec<F> = [0.0, 0.1, 0.5, 1.0, 1.0 + 1e-7, 2.5, 1e-20, 3e18]
        .map(F::of)
        .to_vec();
    let largest_tiny = tiny - tiny * F::epsilon();
    numbers.extend([tiny, largest_tiny, tiny * F::epsilon()]);
    numbers.extend([F::max_value(), F::infinity()]);
    let negative: Vec<F> = numbers.iter().map(|&number| -number).collect();
    numbers.extend(negative);
    numbers.push(F::nan());
    numbers
}

fn check_operations<F: SimdFloat>() {
    let numbers = numbers::<F>();
    let pairs: Vec<(F, F)> = numbers
        .iter()
        .flat_map(|&a| numbers.iter().map(move |&b| (a, b)))
        .collect();
    for set in sets() {
        let results = dispatch(set, Operations(&pairs));
        assert_eq!(results.len(), pairs.len());
        for (&(a, b), results) in pairs.iter().zip(results) {
            let truths = expected(a, b, set != InstructionSet::Portable);
            for ((name, got), truth) in OPERATIONS.iter().zip(results).zip(truths) {
                let limits = name.contains("at most") || name.contains("at least");
                if limits && b.is_nan() && !a.is_nan() {
                    continue; // nothing is promised of such a limit
                }
                // Nor which zero: of two as limits, or instead of a tiny number.
                let any_zero = limits || name.contains("tiny");
                let same_sign = any_zero || got.is_sign_negative() == truth.is_sign_negative();
                assert!(
                    got == truth && same_sign || got.is_nan() && truth.is_nan(),
                    "{set:?}: {name} with a = {a} and b = {b} is {got}, not {truth}"
                );
            }
        }
    }
}

#[test]
fn operations_are_those_of_single_numbers() {
    check_operations::<f32>();
    check_operations::<f64>();
}

/// For each number x and each factor: x rounded, its reciprocal, its exponent's integer and rest, the
/// factor times two to that integer.
struct Exponents<'a, F>(&'a [(F, F)]);

impl<F: SimdFloat> Kernel<F> for Exponents<'_, F> {
    type Output = Vec<[F; 5]>;

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) -> Self::Output {
        let mut results = Vec::new();
        for &(x, factor) in self.0 {
            let x = V::splat(x);
            let (n, rest) = x.split_exponent();
            let registers = [
                x.round(),
                x.reciprocal(),
                n,
                rest,
                V::splat(factor).scale(n),
            ];
            results.push(registers.map(|register| {
                let mut numbers = [F::zero(); 1];
                register.to_slice(&mut numbers);
                numbers[0]
            }));
        }
        results
    }
}

#[allow(clippy::float_cmp)] // all of them are exact
fn check_exponents<F: SimdFloat>() {
    let lowest = F::LOWEST_EXPONENT.double();
    let mut exponents: Vec<f64> = (-40..=40).map(|index| f64::from(index) / 4.0).collect();
    exponents.extend((1..400).map(|index| (lowest * f64::from(index) / 400.0) * 0.97));
    exponents.extend((1..400).map(|index| (-lowest * f64::from(index) / 400.0) * 0.97));
    exponents.extend([lowest, lowest + 0.5, -lowest, -lowest - 0.5]);
    let factors = [0.5, 0.75, 1.0, 1.1, 1.999].map(F::of);
    let pairs: Vec<(F, F)> = exponents
        .iter()
        .flat_map(|&x| factors.map(|factor| (F::of(x), factor)))
        .collect();
    for set in sets() {
        let results = dispatch(set, Exponents(&pairs));
        assert_eq!(results.len(), pairs.len());
        for (&(number, factor), results) in pairs.iter().zip(results) {
            let x = number.double();
            let what = format!("{set:?}: {x:e} gives {results:?}");
            let [rounded, reciprocal, n, rest, scaled] = results.map(F::double);
            assert_eq!(rounded, x.round_ties_even(), "{what}");
            assert_eq!(n, x.round_ties_even(), "{what}");
            assert_eq!(rest, x - n, "{what}");
            assert_eq!(scaled, factor.double() * n.exp2(), "{what}");
            if x != 0.0 {
                let (_, exponent, _) = results[1].integer_decode();
                let error = (-reciprocal).mul_add(x, 1.0) / x;
                let place = f64::from(exponent).exp2();
                assert!(error.abs() <= 0.6 * place, "{what}");
            }
        }
        // So low that the power is nothing next to 1; and what isn't a number stays that.
        let low = [-1e4, -1e30, f64::NEG_INFINITY].map(|x| (F::of(x), F::one()));
        for [.., scaled] in dispatch(set, Exponents(&low)) {
            assert!(
                scaled >= F::zero() && scaled.double() < 2f64.powi(-100),
                "{set:?}"
            );
        }
        let [result] = dispatch(set, Exponents(&[(F::nan(), F::one())]))[..] else {
            panic!("one number, one result");
        };
        assert!(result[3].is_nan(), "{set:?}");
    }
}

#[test]
fn exponents_are_split_and_put_back_exactly() {
    check_exponents::<f32>();
    check_exponents::<f64>();
}

/// Which sets there are, whose names the environment understands.
#[test]
fn sets_are_those_of_the_architecture() {
    let names: Vec<&str> = sets().map(InstructionSet::name).collect();
    assert_eq!(names[0], "scalar");
    for set in InstructionSet::ALL {
        assert_eq!(InstructionSet::named(set.name()), Some(set));
    }
    let neon = cfg!(target_arch = "aarch64");
    assert_eq!(names.contains(&"neon"), neon, "every aarch64 has it");
    assert_eq!(InstructionSet::named("neon").is_some(), neon);
    assert_eq!(
        InstructionSet::named("avx2").is_some(),
        cfg!(target_arch = "x86_64")
    );
    assert_eq!(InstructionSet::named("sse9"), None);
}
