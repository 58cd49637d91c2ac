//! Losses.
//!
//! A family's file has its classes, whose constructors are all of their own, and what only they
//! need. The base does all else (`loss`); `weights` reads masks and sample weights.

mod classification;
mod distribution;
mod loss;
mod regression;
mod weights;

pub use classification::{BceWithLogitsLoss, CrossEntropyLoss};
pub use distribution::{GaussianNllLoss, QuantileLoss};
pub use loss::Loss;
pub use regression::{HuberLoss, MaeLoss, MseLoss, SmoothL1Loss};
