//! Layers: what a network is made of. Each computes an output, and gradients from a tape.

pub mod embedding;
pub mod layer_norm;
pub mod linear;
pub mod recurrent;
pub mod regularization;
pub mod stack;
