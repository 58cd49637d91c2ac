//! The logistic function, the hyperbolic tangent and the exponential, from one power of two.
//!
//! Written over [`Vector`], so every instruction set computes the same formulas, and no result
//! depends on the platform's mathematical library. Tested bounds, single / double precision:
//! sigmoid 1.2e-7 / 3e-16 absolutely, and 3 + 2|x| ulp (the exponent is rounded once, which shows
//! where the result is tiny; zero from 2^-100 / 2^-900 on); tanh 3 ulp / 1e-15 relative, down to the
//! smallest argument; exp as sigmoid.

use super::Vector;
use crate::float::{Float, Precision};

/// What depends on the precision. The polynomials are minimax ones (Remez), constant term first.
struct Constants {
    /// `(2^r - 1) / r` for `|r| <= 1/2`; relative error 1.1e-8 / 1.8e-17.
    power: &'static [f64],
    /// `(exp(r) - 1 - r) / r^2` for `|r| <= ln(2) / 2`; error relative to exp 3.2e-9 / 3.5e-18.
    exponential: &'static [f64],
    /// From this exponent of 2 on, the logistic function is zero: what it gives, times another gate,
    /// is thus zero or a normal number.
    largest_exponent: f64,
    /// Beyond this magnitude of 2x, tanh(x) is 1 to the last bit.
    saturation: f64,
}

const SINGLE: Constants = Constants {
    power: &[
        0.693_147_187_927_596_1,
        0.240_226_497_948_469_04,
        0.055_503_574_293_334_68,
        0.009_618_237_505_858_97,
        0.001_339_073_778_120_584_8,
        0.000_154_035_115_847_963_5,
    ],
    exponential: &[
        0.500_000_009_518_844_3,
        0.166_665_188_395_636_77,
        0.041_666_205_800_347_15,
        0.008_368_889_364_458_057,
        0.001_395_049_108_162_184,
    ],
    largest_exponent: 100.0,
    saturation: 30.0,
};

const DOUBLE: Constants = Constants {
    power: &[
        std::f64::consts::LN_2,
        0.240_226_506_959_100_98,
        0.055_504_108_664_821_236,
        0.009_618_129_107_607_062,
        0.001_333_355_814_653_165,
        0.000_154_035_304_414_871_46,
        0.000_015_252_733_701_201_521,
        1.321_544_272_030_028e-6,
        1.017_812_130_269_083_4e-7,
        7.072_562_484_963_443e-9,
        4.445_537_066_709_866e-10,
    ],
    exponential: &[
        0.500_000_000_000_001_3,
        0.166_666_666_666_667,
        0.041_666_666_666_515_42,
        0.008_333_333_333_307_202,
        0.001_388_888_894_701_676_5,
        0.000_198_412_699_173_905_9,
        0.000_024_801_489_941_467_67,
        0.000_002_755_721_629_426_563_3,
        2.763_128_056_859_181_5e-7,
        2.511_786_320_679_933_8e-8,
    ],
    largest_exponent: 900.0,
    saturation: 60.0,
};

#[inline(always)]
fn constants<F: Float>() -> &'static Constants {
    match F::PRECISION {
        Precision::Single => &SINGLE,
        Precision::Double => &DOUBLE,
    }
}

#[inline(always)]
fn splat<V: Vector>(value: f64) -> V {
    V::splat(V::Element::of(value))
}

/// A polynomial, constant term first, of at least two terms.
#[inline(always)]
fn polynomial<V: Vector>(terms: &[f64], r: V, square: V) -> V {
    // Even and odd terms are two chains that run side by side.
    let last = terms.len() - 1;
    let mut sums: [V; 2] = [splat(0.0); 2];
    sums[last % 2] = splat(terms[last]);
    sums[(last - 1) % 2] = splat(terms[last - 1]);
    for k in (0..last - 1).rev() {
        sums[k % 2] = sums[k % 2].mul_add(square, splat(terms[k]));
    }
    let [even, odd] = sums;
    odd.mul_add(r, even)
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid<V: Vector>(x: V) -> V {
    let constants = constants::<V::Element>();
    let one: V = splat(1.0);
    let z = x * splat(-std::f64::consts::LOG2_E);
    let limit: V = splat(constants.largest_exponent);
    let (n, r) = z.at_most(limit).split_exponent();
    let power = polynomial(constants.power, r, r * r).mul_add(r, one);
    (one + power.scale(n)).reciprocal().zero_from(z, limit)
}

/// `exp(x)`, for x that are not positive.
#[inline(always)]
pub fn exp<V: Vector>(x: V) -> V {
    let constants = constants::<V::Element>();
    let z = x * splat(std::f64::consts::LOG2_E);
    let (n, r) = z.split_exponent();
    let power = polynomial(constants.power, r, r * r).mul_add(r, splat(1.0));
    power
        .scale(n)
        .zero_from(-z, splat(constants.largest_exponent))
}

/// `tanh(x) = e / (e + 2)` with `e = exp(2x) - 1`, which is made without cancellation.
#[inline(always)]
pub fn tanh<V: Vector>(x: V) -> V {
    let constants = constants::<V::Element>();
    let saturation: V = splat(constants.saturation);
    let y = (x + x).at_most(saturation).at_least(-saturation);
    let n = (y * splat(std::f64::consts::LOG2_E)).round();
    let r = n.mul_add(splat(-std::f64::consts::LN_2), y);
    let square = r * r;
    let q = polynomial(constants.exponential, r, square).mul_add(square, r);
    let power = splat::<V>(1.0).scale(n);
    let e = q.mul_add(power, power - splat(1.0));
    e * (e + splat(2.0)).reciprocal()
}
