//! Optimizers: PyTorch's mathematics, one rule a file.

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
    pub fn update<F: Float>(&self, values: &mut [F], gradient: &[F], memory: &mut Memory<F>) {
        memory.updates += 1;
        match self {
            Self::Sgd(rule) => rule.update(values, gradient, memory),
            Self::Adam(rule) => rule.update(values, gradient, memory),
            Self::RmsProp(rule) => rule.update(values, gradient, memory),
        }
    }
}

/// The gradient that a rule sees: turned round to maximise, plus L2 weight decay.
#[inline]
fn effective_gradient<F: Float>(gradient: F, value: F, maximize: bool, weight_decay: F) -> F {
    let gradient = if maximize { -gradient } else { gradient };
    if weight_decay == F::zero() {
        gradient
    } else {
        gradient + weight_decay * value
    }
}
