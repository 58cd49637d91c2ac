//! Losses of classes.

use super::Elements;
use crate::engine::zeroed_vec;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::memory::filled_vec;

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
    /// The loss of each sample; `logits` is (samples, classes). Samples of factor zero are passed
    /// over, whatever their target.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first class index that doesn't exist.
    pub fn elements<F: Float>(
        &self,
        logits: &[F],
        classes: usize,
        targets: Targets<'_, F>,
        factors: Option<&[F]>,
        gradient: bool,
    ) -> Result<Elements<F>> {
        let samples = logits.len() / classes;
        let mut values = zeroed_vec(samples)?;
        let mut gradients = if gradient {
            Some(zeroed_vec(logits.len())?)
        } else {
            None
        };
        let mut weights = zeroed_vec::<F>(samples)?;
        // With class weights, the mean of index targets is over the weight of their classes; the
        // loss itself already has it.
        let mut denominators = None;
        if self.class_weights.is_some() && matches!(targets, Targets::Indices(_)) {
            denominators = Some(zeroed_vec::<F>(samples)?);
        }
        let class_weight = |class: usize| match &self.class_weights {
            Some(weights) => weights[class],
            None => 1.0,
        };
        let mut wanted = filled_vec(0.0, classes)?;
        for sample in 0..samples {
            if factors.is_some_and(|factors| factors[sample] == F::zero()) {
                continue;
            }
            let row = &logits[sample * classes..][..classes];
            match targets {
                Targets::Indices(indices) => {
                    let index = indices[sample];
                    if self.ignore_index == Some(index) {
                        continue;
                    }
                    let class = usize::try_from(index)
                        .ok()
                        .filter(|&class| class < classes)
                        .ok_or_else(|| {
                            Error::config(
                                format!("target[{sample}]"),
                                format!("a class from 0 to {}", classes - 1),
                                index.to_string(),
                            )
                        })?;
                    wanted.fill(self.label_smoothing / classes as f64);
                    wanted[class] += 1.0 - self.label_smoothing;
                    if let Some(denominators) = &mut denominators {
                        denominators[sample] = F::of(class_weight(class));
                    }
                }
                Targets::Probabilities(probabilities) => {
                    let row = &probabilities[sample * classes..][..classes];
                    for (to, &probability) in wanted.iter_mut().zip(row) {
                        *to = probability.double() * (1.0 - self.label_smoothing)
                            + self.label_smoothing / classes as f64;
                    }
                }
            }
            weights[sample] = F::one();
            for (class, to) in wanted.iter_mut().enumerate() {
                *to *= class_weight(class);
            }

            // log softmax(z)_k = z_k - m - log sum_j exp(z_j - m), stable with m the largest.
            let largest = row
                .iter()
                .fold(f64::NEG_INFINITY, |largest, z| largest.max(z.double()));
            let total: f64 = row.iter().map(|z| (z.double() - largest).exp()).sum();
            let log_total = total.ln();
            let mut loss = 0.0;
            for (z, &target) in row.iter().zip(&wanted) {
                // A class that isn't wanted adds nothing, even when its logit is -infinity.
                if target != 0.0 {
                    loss -= target * (z.double() - largest - log_total);
                }
            }
            values[sample] = F::of(loss);
            if let Some(gradients) = &mut gradients {
                let mass: f64 = wanted.iter().sum();
                let to = &mut gradients[sample * classes..][..classes];
                for class in 0..classes {
                    let probability = (row[class].double() - largest).exp() / total;
                    to[class] = F::of(mass * probability - wanted[class]);
                }
            }
        }
        Ok(Elements {
            values,
            gradients,
            weights: Some(weights),
            denominators,
        })
    }
}
