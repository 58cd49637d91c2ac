//! Optimizers: PyTorch's mathematics, one rule a file.
//!
//! A rule's equations stand once, on registers of elements, and run on every instruction set.

mod adadelta;
mod adagrad;
mod adam;
pub mod clip;
mod moments;
mod nadam;
mod radam;
mod rmsprop;
mod sgd;

pub use adadelta::Adadelta;
pub use adagrad::Adagrad;
pub use adam::Adam;
pub use nadam::NAdam;
pub use radam::RAdam;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

use crate::engine::zeroed_vec;
use crate::error::Result;
use crate::float::Float;
use crate::memory::filled_vec;
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
    /// Adagrad.
    Adagrad(Adagrad),
    /// Adadelta.
    Adadelta(Adadelta),
    /// `NAdam`.
    NAdam(NAdam),
    /// `RAdam`.
    RAdam(RAdam),
}

/// The same expression for whichever rule it is.
macro_rules! with_method {
    ($rule:expr, $method:ident => $result:expr) => {
        match $rule {
            Rule::Sgd($method) => $result,
            Rule::Adam($method) => $result,
            Rule::RmsProp($method) => $result,
            Rule::Adagrad($method) => $result,
            Rule::Adadelta($method) => $result,
            Rule::NAdam($method) => $result,
            Rule::RAdam($method) => $result,
        }
    };
}

/// What a rule remembers about one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory<F> {
    /// How often the parameter was updated.
    pub updates: u64,
    /// The product of the factors of all updates, under PyTorch's name, where the rule has one.
    pub product: Option<(&'static str, f64)>,
    /// The rule's arrays, each of the parameter's size, under PyTorch's names.
    pub arrays: Vec<(&'static str, Vec<F>)>,
}

impl Rule {
    /// The learning rate.
    pub fn lr_mut(&mut self) -> &mut f64 {
        with_method!(self, method => &mut method.lr)
    }

    /// Empty memory for a parameter of so many elements.
    ///
    /// # Errors
    /// Out of memory.
    pub fn memory<F: Float>(&self, len: usize) -> Result<Memory<F>> {
        let mut memory = Memory {
            updates: 0,
            product: self.product_name().map(|name| (name, 1.0)),
            arrays: Vec::new(),
        };
        self.complete(&mut memory, len)?;
        Ok(memory)
    }

    /// Adds the arrays that the rule needs and a memory lacks: those of options that were turned
    /// on after the first update, which begin like all others.
    ///
    /// # Errors
    /// Out of memory; some arrays may have been added then.
    pub fn complete<F: Float>(&self, memory: &mut Memory<F>, len: usize) -> Result<()> {
        let start = with_method!(self, method => method.start());
        for name in self.memory_names() {
            if memory.arrays.iter().any(|(known, _)| *known == name) {
                continue;
            }
            // Zeros cost nothing before they are touched.
            let array = if start == 0.0 {
                zeroed_vec(len)?
            } else {
                filled_vec(F::of(start), len)?
            };
            memory.arrays.push((name, array));
        }
        Ok(())
    }

    /// The names of the arrays that rules of this kind may remember, whatever the options.
    #[must_use]
    pub fn all_memory_names(&self) -> &'static [&'static str] {
        fn all<M: Method<N>, const N: usize>(_: &M) -> &'static [&'static str] {
            M::MEMORY
        }
        with_method!(self, method => all(method))
    }

    /// The names of the arrays that the rule needs with these options. Others may be there, from
    /// before an option was turned off; they stay as they are.
    #[must_use]
    pub fn memory_names(&self) -> Vec<&'static str> {
        with_method!(self, method => method.memory_names())
    }

    /// The name of the product that the rule remembers, if it does.
    #[must_use]
    pub fn product_name(&self) -> Option<&'static str> {
        with_method!(self, method => method.product_name())
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
        with_method!(self, method => run(set, method, values, gradient, memory));
    }
}

/// How far a parameter has come.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// The number of this update, counted from one.
    number: u64,
    /// The product of the factors of all updates, this one included.
    product: f64,
}

/// The mathematics of a rule, on `N` arrays: the values, then all that the rule may remember.
trait Method<const N: usize> {
    /// The equations of one update.
    type Equations<V: Vector>: Equations<V, N>;

    /// PyTorch's names of the arrays after the first.
    const MEMORY: &'static [&'static str];

    /// Which of those are needed with these options.
    fn memory_names(&self) -> Vec<&'static str> {
        Self::MEMORY.to_vec()
    }

    /// What the arrays are filled with before the first update.
    fn start(&self) -> f64 {
        0.0
    }

    /// PyTorch's name of the product of factors, if there is one.
    fn product_name(&self) -> Option<&'static str> {
        None
    }

    /// The factor of the update with this number, counted from one.
    fn factor(&self, _number: u64) -> f64 {
        1.0
    }

    /// The equations of one update.
    fn equations<V: Vector>(&self, progress: Progress) -> Self::Equations<V>;
}

/// One update of one register of elements.
trait Equations<V, const N: usize> {
    /// The arrays' new numbers. Those of arrays that the options don't need are as before; they
    /// are zeros where an array isn't remembered. `#[inline(always)]`, as all of a [`Kernel`].
    fn apply(&self, gradient: V, arrays: [V; N]) -> [V; N];
}

/// One update of one parameter, ready to run.
struct Update<'a, F, M, const N: usize> {
    method: &'a M,
    progress: Progress,
    gradient: &'a [F],
    /// Those that aren't remembered are empty.
    arrays: [&'a mut [F]; N],
}

impl<F: SimdFloat, M: Method<N>, const N: usize> Kernel<F> for Update<'_, F, M, N> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        let equations = self.method.equations::<V>(self.progress);
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
    memory.updates += 1;
    let factor = method.factor(memory.updates);
    let product = match &mut memory.product {
        None => 1.0,
        Some((_, product)) => {
            // PyTorch keeps it in single precision: rounded alike, the results agree.
            *product = (f32::of(*product) * f32::of(factor)).double();
            *product
        }
    };
    let progress = Progress {
        number: memory.updates,
        product,
    };
    let mut arrays: [&mut [F]; N] = std::array::from_fn(|_| <&mut [F]>::default());
    arrays[0] = values;
    for (name, array) in &mut memory.arrays {
        if let Some(place) = M::MEMORY.iter().position(|known| known == name) {
            arrays[1 + place] = array;
        }
    }
    let update = Update {
        method,
        progress,
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
