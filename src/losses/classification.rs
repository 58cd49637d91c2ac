//! Losses of classes.

use super::{Extent, Reduced, Request};
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
    /// The loss; `logits` is (samples, classes), and each sample is an element. Samples of weight
    /// zero are passed over, whatever their target.
    ///
    /// # Errors
    /// Out of memory, or [`Error::Config`] naming the first class index that doesn't exist.
    pub fn reduce<F: Float>(
        &self,
        logits: &[F],
        classes: usize,
        targets: Targets<'_, F>,
        request: Request<'_, F>,
    ) -> Result<Reduced<F>> {
        let samples = logits.len() / classes;
        let factor = |sample: usize| request.weights.map_or(1.0, |w| w[sample].double());
        let mut weight = 0.0;
        for sample in (0..samples).filter(|&sample| factor(sample) != 0.0) {
            weight += factor(sample) * self.own_weight(classes, targets, sample)?;
        }
        let mut reduced = request.room(weight, samples, logits.len())?;
        if request.extent == Extent::Weight {
            return Ok(reduced);
        }
        let scale = request.value(1.0, weight);
        let mut wanted = filled_vec(0.0, classes)?;
        let mut powers = filled_vec(0.0, classes)?;
        let mut sum = 0.0;
        for sample in 0..samples {
            let factor = factor(sample);
            if factor == 0.0 || self.is_ignored(targets, sample) {
                continue;
            }
            self.fill_wanted(&mut wanted, targets, sample);
            let place = sample * classes..(sample + 1) * classes;
            let row = &logits[place.clone()];
            // log softmax(z)_k = z_k - m - log sum_j exp(z_j - m), stable with m the largest.
            let largest = row
                .iter()
                .fold(f64::NEG_INFINITY, |largest, z| largest.max(z.double()));
            for (power, z) in powers.iter_mut().zip(row) {
                *power = (z.double() - largest).exp();
            }
            let powers_total: f64 = powers.iter().sum();
            let log_total = powers_total.ln();
            let mut loss = 0.0;
            for (z, &wanted) in row.iter().zip(&wanted) {
                // A class that isn't wanted adds nothing, even when its logit is -infinity.
                if wanted != 0.0 {
                    loss -= wanted * (z.double() - largest - log_total);
                }
            }
            sum += factor * loss;
            if let Some(elements) = &mut reduced.elements {
                elements[sample] = F::of(factor * loss);
            }
            let factor = factor * scale;
            if let Some(gradient) = &mut reduced.gradient
                && factor != 0.0
            {
                let mass = wanted.iter().sum::<f64>() / powers_total;
                let slopes = powers.iter().zip(&wanted);
                for (to, (power, wanted)) in gradient[place].iter_mut().zip(slopes) {
                    *to = F::of(factor * (mass * power - wanted));
                }
            }
        }
        reduced.value = request.value(sum, weight);
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
