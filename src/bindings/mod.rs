//! The extension module `recurrust._core`: the only place that knows Python.
//!
//! One file per family of classes. `arrays` turns NumPy arrays into slices and back, `errors`
//! turns the core's errors into exceptions, `options` checks constructor arguments, `run` takes
//! locks and releases the interpreter during long work.

mod arrays;
mod cell;
mod dropout;
mod embedding;
mod errors;
mod features;
mod files;
mod freezing;
mod gru;
mod initialization;
mod layer_norm;
mod linear;
mod losses;
mod lstm;
mod module;
mod optimizers;
mod options;
mod parameter;
mod pools;
mod recurrent;
mod regularization;
mod rnn;
mod run;
mod runtime;
mod stack;
mod streaming;
mod zoneout;

use pyo3::pymodule;

#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::arrays::input_copies;
    #[pymodule_export]
    use super::cell::RecurrentCell;
    #[pymodule_export]
    use super::dropout::{Dropout, DropoutCache};
    #[pymodule_export]
    use super::embedding::{Embedding, EmbeddingCache};
    #[pymodule_export]
    use super::files::{read_tensors, write_tensors};
    #[pymodule_export]
    use super::gru::{Gru, GruCell};
    #[pymodule_export]
    use super::layer_norm::{LayerNorm, LayerNormCache};
    #[pymodule_export]
    use super::linear::{Linear, LinearCache};
    #[pymodule_export]
    use super::losses::{
        BceWithLogitsLoss, CrossEntropyLoss, GaussianNllLoss, HuberLoss, Loss, MaeLoss, MseLoss,
        QuantileLoss, SmoothL1Loss,
    };
    #[pymodule_export]
    use super::lstm::{Lstm, LstmCell, PeepholeLstmCell};
    #[pymodule_export]
    use super::module::Module;
    #[pymodule_export]
    use super::optimizers::{
        Adadelta, Adagrad, Adam, AdamW, NAdam, Optimizer, RAdam, RmsProp, Sgd, clip_grad_norm_,
        clip_grad_value_, zero_grad_,
    };
    #[pymodule_export]
    use super::parameter::Parameter;
    #[pymodule_export]
    use super::recurrent::RecurrentLayer;
    #[pymodule_export]
    use super::rnn::{Rnn, RnnCell};
    #[pymodule_export]
    use super::runtime::{
        build_info, get_num_threads, get_rng_state, manual_seed, set_num_threads, set_rng_state,
        shuffled,
    };
    #[pymodule_export]
    use super::stack::RecurrentCache;
    #[pymodule_export]
    use super::streaming::{Stream, stream};
    #[pymodule_export]
    use super::zoneout::{Zoneout, ZoneoutCache};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::runtime::check_environment(module.py())?;
        super::arrays::prepare(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
