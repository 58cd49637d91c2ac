//! Losses of classes.

use super::{Extent, LANES, Reduced, Request, largest, total};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::memory::filled_vec;
use crate::simd::{InstructionSet, Kernel, Vector, dispatch};

/// Cross-entropy of a softmax over the last axis, with PyTorch's meaning of its options.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossEntropy {
    /// A weight for each class.
    pub class_weights: Option<Vec<f64>>,
    /// Samples with this class index count for nothing.
    pub ignore_index: Option<i64>,
    /// How much of each target is spread evenly over all classes, 0 to 1.
    pub label_smoothing: f64,
}

/// What the right answers are.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a, F> {
    /// One class index a sample.
    Indices(&'a [i64]),
    /// One probability a class and sample.
    Probabilities(&'a [F]),
}

impl CrossEntropy {
    /// The loss; `logits` is (samples, classes), and each sample is an element. Samples of weight
    /// zero are passed over, whatever their target.
    ///
    /// # Errors
    /// Out of memory, or [`Error::Config`] naming the first class index that doesn't exist.
    ///
    /// # Panics
    /// When the processor doesn't have the instruction set.
    pub fn reduce<F: Float>(
        &self,
        set: InstructionSet,
        logits: &[F],
        classes: usize,
        targets: Targets<'_, F>,
        request: Request<'_, F>,
    ) -> Result<Reduced<F>> {
        let samples = logits.len() / classes;
        let mut weight = 0.0;
        for sample in 0..samples {
            let factor = request.weight_of(sample);
            if factor != 0.0 {
                weight += factor * self.own_weight(classes, targets, sample)?;
            }
        }
        let mut reduced = request.room(weight, samples, logits.len())?;
        if request.extent != Extent::Weight {
            let registers = classes.next_multiple_of(LANES);
            let pass = Pass {
                loss: self,
                logits,
                targets,
                request,
                reduced: &mut reduced,
                wanted: filled_vec(0.0, classes)?,
                shifted: filled_vec(0.0, registers)?,
                powers: filled_vec(0.0, registers)?,
            };
            dispatch(set, pass);
        }
        Ok(reduced)
    }

    /// Whether a sample counts for nothing, by its target.
    fn is_ignored<F>(&self, targets: Targets<'_, F>, sample: usize) -> bool {
        match targets {
            Targets::Indices(indices) => self.ignore_index == Some(indices[sample]),
            Targets::Probabilities(_) => false,
        }
    }

    fn class_weight(&self, class: usize) -> f64 {
        match &self.class_weights {
            Some(weights) => weights[class],
            None => 1.0,
        }
    }

    /// A sample's share in the mean's denominator: with index targets, the weight of its class.
    fn own_weight<F>(&self, classes: usize, targets: Targets<'_, F>, sample: usize) -> Result<f64> {
        let Targets::Indices(indices) = targets else {
            return Ok(1.0);
        };
        if self.is_ignored(targets, sample) {
            return Ok(0.0);
        }
        usize::try_from(indices[sample])
            .ok()
            .filter(|&class| class < classes)
            .map(|class| self.class_weight(class))
            .ok_or_else(|| {
                Error::config(
                    format!("target[{sample}]"),
                    format!("a class from 0 to {}", classes - 1),
                    indices[sample].to_string(),
                )
            })
    }

    /// The weight of each class's `-log softmax` in a sample's loss.
    fn fill_wanted<F: Float>(&self, wanted: &mut [f64], targets: Targets<'_, F>, sample: usize) {
        let classes = wanted.len();
        let even = self.label_smoothing / classes as f64;
        let kept = 1.0 - self.label_smoothing;
        match targets {
            Targets::Indices(indices) => {
                wanted.fill(even);
                let class = usize::try_from(indices[sample]).ok();
                if let Some(wanted) = class.and_then(|class| wanted.get_mut(class)) {
                    *wanted += kept;
                }
            }
            Targets::Probabilities(probabilities) => {
                let row = &probabilities[sample * classes..][..classes];
                for (wanted, probability) in wanted.iter_mut().zip(row) {
                    *wanted = probability.double() * kept + even;
                }
            }
        }
        if let Some(weights) = &self.class_weights {
            for (wanted, weight) in wanted.iter_mut().zip(weights) {
                *wanted *= weight;
            }
        }
    }
}

/// One pass over all samples, which fills in the value and what else there is room for; all in
/// double precision.
struct Pass<'a, F> {
    loss: &'a CrossEntropy,
    logits: &'a [F],
    targets: Targets<'a, F>,
    request: Request<'a, F>,
    reduced: &'a mut Reduced<F>,
    // Of one sample, a number a class; the latter two are filled up to whole registers:
    wanted: Vec<f64>,
    shifted: Vec<f64>,
    powers: Vec<f64>,
}

impl<F: Float> Kernel<f64> for Pass<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Element = f64>>(mut self) {
        let classes = self.wanted.len();
        let scale = self.request.value(1.0, self.reduced.weight);
        let mut sum = 0.0;
        for (sample, logits) in self.logits.chunks_exact(classes).enumerate() {
            let factor = self.request.weight_of(sample);
            if factor == 0.0 || self.loss.is_ignored(self.targets, sample) {
                continue;
            }
            self.loss
                .fill_wanted(&mut self.wanted, self.targets, sample);
            // log softmax(z)_k = z_k - m - log sum_j exp(z_j - m), stable with m the largest.
            let largest = largest(logits);
            for (shifted, logit) in self.shifted.iter_mut().zip(logits) {
                *shifted = logit.double() - largest;
            }
            let registers = self.shifted.chunks_exact(V::LANES);
            for (shifted, powers) in registers.zip(self.powers.chunks_exact_mut(V::LANES)) {
                V::from_slice(shifted).exp().to_slice(powers);
            }
            let powers_total = total(&self.powers[..classes]);
            let log_total = powers_total.ln();
            for (shifted, &wanted) in self.shifted.iter_mut().zip(&self.wanted) {
                // A class that isn't wanted adds nothing, even when its logit is -infinity.
                *shifted = if wanted == 0.0 {
                    0.0
                } else {
                    wanted * (log_total - *shifted)
                };
            }
            let loss = factor * total(&self.shifted[..classes]);
            sum += loss;
            if let Some(elements) = &mut self.reduced.elements {
                elements[sample] = F::of(loss);
            }
            let factor = factor * scale;
            if let Some(gradient) = &mut self.reduced.gradient
                && factor != 0.0
            {
                let mass = total(&self.wanted) / powers_total;
                let slopes = self.powers.iter().zip(&self.wanted);
                let row = &mut gradient[sample * classes..][..classes];
                for (to, (power, wanted)) in row.iter_mut().zip(slopes) {
                    *to = F::of(factor * (mass * power - wanted));
                }
            }
        }
        self.reduced.value = self.request.value(sum, self.reduced.weight);
    }
}
