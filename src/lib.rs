//! Recurrent neural networks on the CPU: exact, fast, small.
//!
//! The modules below know nothing of Python. With the feature `python`, `bindings` adds the
//! extension module `recurrust._core`. Dependencies point downwards in this list:
//!
//! | module | what it does |
//! |---|---|
//! | `bindings` | the Python classes |
//! | [`streaming`] | a whole network, one step at a time |
//! | [`layers`] | a cell over time, stacks, linear layers |
//! | [`optimizers`], [`losses`], [`regularization`] | what training needs besides layers |
//! | [`engine`] | how a cell runs fast |
//! | [`cells`] | the equations of one step |
//! | [`simd`] | vector types and activations |
//! | [`parameters`], [`files`], [`init`], [`random`] | memory, files, initial weights, randomness |
//! | [`lengths`], [`memory`], [`interrupt`], [`float`], [`error`] | what everything shares |

#[cfg(feature = "python")]
mod bindings;
pub mod cells;
pub mod engine;
pub mod error;
pub mod files;
pub mod float;
pub mod init;
pub mod interrupt;
pub mod layers;
pub mod lengths;
pub mod losses;
pub mod memory;
pub mod optimizers;
pub mod parameters;
pub mod random;
pub mod regularization;
pub mod simd;
pub mod streaming;
