//! Optimizers: PyTorch's mathematics, one rule a file.
//!
//! A rule's equations stand once, on registers of elements, and run on every instruction set.

mod adam;
pub mod clip;
mod rmsprop;
mod sgd;

pub use adam::Adam;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

use crate::engine::zeroed_vec;
use crate::error::Result;
use crate::float::Float;
use crate::simd::{InstructionSet, Kernel, SimdFloat, Vector, dispatch};

/// One optimizer's rule and its options.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam and `AdamW`.
    Adam(Adam),
    /// `RMSprop`.
    RmsProp(RmsProp),
}

/// What a rule remembers about one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory<F> {
    /// How often the parameter was updated.
    pub updates: u64,
    /// The rule's arrays, each of the parameter's size, under PyTorch's names.
    pub arrays: Vec<(&'static str, Vec<F>)>,
}

impl Rule {
    /// The names of the arrays that the rule remembers.
    #[must_use]
    pub fn memory_names(&self) -> Vec<&'static str> {
        match self {
            Self::Sgd(rule) => rule.memory_names(),
            Self::Adam(rule) => rule.memory_names(),
            Self::RmsProp(rule) => rule.memory_names(),
        }
    }

    /// Empty memory for a parameter of so many elements.
    ///
    /// # Errors
    /// Out of memory.
    pub fn memory<F: Float>(&self, len: usize) -> Result<Memory<F>> {
        let arrays = self
            .memory_names()
            .into_iter()
            .map(|name| Ok((name, zeroed_vec(len)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Memory { updates: 0, arrays })
    }

    /// Updates one parameter.
    ///
    /// # Panics
    /// When the gradient or an array of the memory has another length than the values, or the
    /// processor doesn't have the instruction set.
    pub fn update<F: SimdFloat>(
        &self,
        set: InstructionSet,
        values: &mut [F],
        gradient: &[F],
        memory: &mut Memory<F>,
    ) {
        memory.updates += 1;
        match self {
            Self::Sgd(rule) => run(set, rule, values, gradient, memory),
            Self::Adam(rule) => run(set, rule, values, gradient, memory),
            Self::RmsProp(rule) => run(set, rule, values, gradient, memory),
        }
    }
}

/// The mathematics of a rule, on `N` arrays: the values, then all that the rule may remember.
trait Method<const N: usize> {
    /// The equations of one update.
    type Equations<V: Vector>: Equations<V, N>;

    /// PyTorch's names of the arrays after the first.
    const MEMORY: &'static [&'static str];

    /// Which of those are needed with these options.
    fn memory_names(&self) -> Vec<&'static str>;

    /// The equations of the update with this number, counted from one.
    fn equations<V: Vector>(&self, number: u64) -> Self::Equations<V>;
}

/// One update of one register of elements.
trait Equations<V, const N: usize> {
    /// The arrays' new numbers. Numbers of arrays that aren't remembered are zeros before, and of
    /// no account after. `#[inline(always)]`, as all of a [`Kernel`].
    fn apply(&self, gradient: V, arrays: [V; N]) -> [V; N];
}

/// One update of one parameter, ready to run.
struct Update<'a, F, M, const N: usize> {
    method: &'a M,
    number: u64,
    gradient: &'a [F],
    /// Those that aren't remembered are empty.
    arrays: [&'a mut [F]; N],
}

impl<F: SimdFloat, M: Method<N>, const N: usize> Kernel<F> for Update<'_, F, M, N> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        let equations = self.method.equations::<V>(self.number);
        let (gradient, arrays) = (self.gradient, self.arrays);
        for start in (0..gradient.len()).step_by(V::LANES) {
            let place = start..gradient.len().min(start + V::LANES);
            let mut registers = [splat(0.0); N];
            for index in 0..N {
                if !arrays[index].is_empty() {
                    registers[index] = V::from_slice(&arrays[index][place.clone()]);
                }
            }
            registers = equations.apply(V::from_slice(&gradient[place.clone()]), registers);
            for index in 0..N {
                if !arrays[index].is_empty() {
                    registers[index].to_slice(&mut arrays[index][place.clone()]);
                }
            }
        }
    }
}

fn run<F: SimdFloat, M: Method<N>, const N: usize>(
    set: InstructionSet,
    method: &M,
    values: &mut [F],
    gradient: &[F],
    memory: &mut Memory<F>,
) {
    let mut arrays: [&mut [F]; N] = std::array::from_fn(|_| <&mut [F]>::default());
    arrays[0] = values;
    for (name, array) in &mut memory.arrays {
        if let Some(place) = M::MEMORY.iter().position(|known| known == name) {
            arrays[1 + place] = array;
        }
    }
    let update = Update {
        method,
        number: memory.updates,
        gradient,
        arrays,
    };
    dispatch(set, update);
}

/// The gradient that a rule sees: turned round to maximise, plus L2 weight decay.
struct Gradient<V> {
    maximize: bool,
    weight_decay: Option<V>,
}

impl<V: Vector> Gradient<V> {
    fn new(maximize: bool, weight_decay: f64) -> Self {
        Self {
            maximize,
            weight_decay: (weight_decay != 0.0).then(|| splat(weight_decay)),
        }
    }

    #[inline(always)]
    fn of(&self, gradient: V, value: V) -> V {
        let gradient = if self.maximize { -gradient } else { gradient };
        match self.weight_decay {
            None => gradient,
            Some(decay) => value.mul_add(decay, gradient),
        }
    }
}

/// A constant of the equations.
#[inline(always)]
fn splat<V: Vector>(value: f64) -> V {
    V::splat(V::Element::of(value))
}
