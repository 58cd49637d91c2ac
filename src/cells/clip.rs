//! Limits of pre-activations, as the operators of ONNX have them.

use crate::float::Float;
use crate::simd::Vector;

/// Keeps pre-activations within a distance of zero, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Clip(pub Option<f64>);

impl Clip {
    /// The pre-activation within the limits.
    #[inline(always)]
    pub fn apply<V: Vector>(self, a: V) -> V {
        match self.0 {
            Some(limit) => {
                let limit = V::splat(V::Element::of(limit));
                a.at_most(limit).at_least(-limit)
            }
            None => a,
        }
    }

    /// The gradient of a pre-activation whose sigmoid is `s`: nothing where it was at a limit.
    #[inline(always)]
    pub fn sigmoid_slope<V: Vector>(self, gradient: V, s: V) -> V {
        match self.0 {
            Some(limit) => {
                let limit = V::splat(V::Element::of(limit));
                let (most, least) = (limit.sigmoid(), (-limit).sigmoid());
                gradient.zero_from(s, most).zero_from(-s, -least)
            }
            None => gradient,
        }
    }

    /// The gradient of a pre-activation whose hyperbolic tangent is `t`.
    #[inline(always)]
    pub fn tanh_slope<V: Vector>(self, gradient: V, t: V) -> V {
        match self.0 {
            Some(limit) => {
                let limit = V::splat(V::Element::of(limit));
                // Not the same but for the sign: computed, the function is odd only to rounding.
                let (most, least) = (limit.tanh(), (-limit).tanh());
                gradient.zero_from(t, most).zero_from(-t, -least)
            }
            None => gradient,
        }
    }

    /// The gradient of a pre-activation that is positive and comes out as `a`.
    #[inline(always)]
    pub fn identity_slope<V: Vector>(self, gradient: V, a: V) -> V {
        match self.0 {
            Some(limit) => gradient.zero_from(a, V::splat(V::Element::of(limit))),
            None => gradient,
        }
    }
}
