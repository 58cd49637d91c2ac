//! Activations against the standard library in double precision, on every instruction set.

use recurrust::simd::{InstructionSet, Kernel, SimdFloat, Vector, dispatch};

/// Sigmoid and tanh of many numbers, and exp of their negative magnitudes.
struct Activations<'a, F>(&'a [F]);

type Values<F> = [Vec<F>; 3];

impl<F: SimdFloat> Kernel<F> for Activations<'_, F> {
    type Output = Values<F>;

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) -> Values<F> {
        let mut values = [Vec::new(), Vec::new(), Vec::new()];
        for chunk in self.0.chunks(V::LANES) {
            let mut x = vec![F::zero(); V::LANES];
            x[..chunk.len()].copy_from_slice(chunk);
            // SAFETY: every vector holds a register.
            unsafe {
                let x = V::load(x.as_ptr());
                let results = [x.sigmoid(), x.tanh(), x.at_most(-x).exp()];
                for (values, result) in values.iter_mut().zip(results) {
                    let mut numbers = vec![F::zero(); V::LANES];
                    result.store(numbers.as_mut_ptr());
                    values.extend_from_slice(&numbers[..chunk.len()]);
                }
            }
        }
        values
    }
}

fn sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL
        .into_iter()
        .filter(|set| set.is_available())
}

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

fn check_single(set: InstructionSet, numbers: &[f32]) {
    let [sigmoid, tanh, exp] = dispatch(set, Activations(numbers));
    for (at, &x) in numbers.iter().enumerate() {
        let wide = f64::from(x);
        for (name, got, truth) in [
            ("sigmoid", sigmoid[at], true_sigmoid(wide)),
            ("exp of minus", exp[at], (-wide.abs()).exp()),
        ] {
            let error = (f64::from(got) - truth).abs();
            assert!(error <= 1.2e-7, "{set:?}: {name} {x:e} = {got:e}");
            if truth > 2f64.powi(-100) {
                assert!(
                    ulps(got, truth) <= 3.0 + 2.0 * wide.abs(),
                    "{set:?}: {name} {x:e} = {got:e}"
                );
            }
        }
        let got = tanh[at];
        if x.abs() >= f32::MIN_POSITIVE {
            assert!(
                ulps(got, wide.tanh()) <= 3.0,
                "{set:?}: tanh({x:e}) = {got:e}"
            );
        }
    }
}

/// Checks finite numbers among those with the given bits, some thousands at a time.
fn sweep(bits: impl Iterator<Item = u32>) {
    let mut numbers = Vec::with_capacity(1 << 16);
    for bits in bits {
        let x = f32::from_bits(bits);
        if x.is_finite() {
            numbers.push(x);
        }
        if numbers.len() == 1 << 16 {
            sets().for_each(|set| check_single(set, &numbers));
            numbers.clear();
        }
    }
    sets().for_each(|set| check_single(set, &numbers));
}

#[test]
fn single_precision_sampled() {
    // Every 4099th number of all that there are; the step is prime.
    sweep((0..=u32::MAX).step_by(4099));
}

#[test]
#[ignore = "all 2^32 numbers take some ten minutes; the sampled sweep above always runs"]
fn single_precision_exhaustive() {
    sweep(0..=u32::MAX);
}

#[test]
fn double_precision() {
    let mut numbers = Vec::new();
    let mut magnitude = 1e-300;
    while magnitude < 700.0 {
        numbers.extend([magnitude, -magnitude]);
        magnitude *= if magnitude < 1e-3 { 1.7 } else { 1.000_37 };
    }
    for set in sets() {
        let [sigmoid, tanh, exp] = dispatch(set, Activations(&numbers));
        for (at, &x) in numbers.iter().enumerate() {
            for (name, got, truth) in [
                ("sigmoid", sigmoid[at], true_sigmoid(x)),
                ("exp of minus", exp[at], (-x.abs()).exp()),
            ] {
                let error = (got - truth).abs();
                let tail = truth < 2f64.powi(-900);
                let bound = (3.0 + 2.0 * x.abs()) * f64::EPSILON;
                assert!(
                    error <= 3e-16 && (tail || error / truth <= bound),
                    "{set:?}: {name} {x:e} = {got:e}, not {truth:e}"
                );
            }
            let (got, truth) = (tanh[at], x.tanh());
            assert!(
                (got / truth - 1.0).abs() <= 1e-15,
                "{set:?}: tanh({x:e}) = {got:e}, not {truth:e}"
            );
        }
    }
}

/// NaN of either sign with each bit of its payload that both precisions have, and the missing value of
/// R; they must not get into exponents.
fn nans() -> Vec<f64> {
    let quiet = f64::NAN.to_bits();
    (29..51)
        .flat_map(|bit| [1 << bit, 1 << 63 | 1 << bit, (1 << 51) - (1 << bit)])
        .chain([0, 0x7a2])
        .map(|payload: u64| f64::from_bits(quiet | payload))
        .collect()
}

fn check_special<F: SimdFloat>() {
    let of = |numbers: &[f64]| numbers.iter().map(|&x| F::of(x)).collect::<Vec<_>>();
    let large = of(&[1e4, 1e30, f64::INFINITY]);
    let small = of(&[-1e4, -1e30, f64::NEG_INFINITY]);
    for set in sets() {
        let [sigmoid, tanh, exp] = dispatch(set, Activations(&large));
        assert_eq!(sigmoid, of(&[1.0; 3]), "{set:?}");
        assert_eq!(tanh, of(&[1.0; 3]), "{set:?}");
        assert_eq!(exp, of(&[0.0; 3]), "{set:?}");
        let [sigmoid, tanh, exp] = dispatch(set, Activations(&small));
        assert_eq!(sigmoid, of(&[0.0; 3]), "{set:?}");
        assert_eq!(tanh, of(&[-1.0; 3]), "{set:?}");
        assert_eq!(exp, of(&[0.0; 3]), "{set:?}");
        for results in dispatch(set, Activations(&of(&nans()))) {
            assert!(results.iter().all(|result| result.is_nan()), "{set:?}");
        }
        let [sigmoid, tanh, exp] = dispatch(set, Activations(&of(&[0.0])));
        assert_eq!((sigmoid[0], tanh[0]), (F::of(0.5), F::of(0.0)), "{set:?}");
        assert_eq!(exp[0], F::of(1.0), "{set:?}");
    }
}

#[test]
fn saturation_and_special_values() {
    check_special::<f32>();
    check_special::<f64>();
}
