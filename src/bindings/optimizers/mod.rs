//! Optimizers and gradient clipping.
//!
//! An optimizer's file has its class, whose constructor is all of its own, and the list of its
//! options. The base does all else (`optimizer`), groups read and show the options (`group`).

mod adadelta;
mod adagrad;
mod adam;
mod clipping;
mod group;
mod nadam;
mod optimizer;
mod radam;
mod rmsprop;
mod sgd;

pub use adadelta::Adadelta;
pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use clipping::{clip_grad_norm_, clip_grad_value_, zero_grad_};
pub use nadam::NAdam;
pub use optimizer::Optimizer;
pub use radam::RAdam;
pub use rmsprop::RmsProp;
pub use sgd::Sgd;
