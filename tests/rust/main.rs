//! Tests of the core that need no Python. What Python can see is tested from Python.

mod activations;
mod files;
mod gradients;
mod initialization;
mod lengths;
mod losses;
mod optimizers;
mod parameters;
mod pool;
mod random;
mod streaming;
mod vectors;
