//! `RNN` and `RNNCell`.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::cell::{self, RecurrentCell};
use super::options::Keywords;
use super::recurrent::{self, KEYWORDS, RecurrentLayer};
use super::regularization;
use crate::cells::{CellKind, Clip, Nonlinearity, Rnn as Cell};

/// Names of the states.
const STATES: &[&str] = &["h"];

/// Names of the nonlinearities.
const NONLINEARITY_NAMES: [&str; 2] = ["tanh", "relu"];

/// The cell with the nonlinearity at an index of the names.
fn kind(nonlinearity: usize, clip: Clip) -> CellKind {
    let nonlinearity = [Nonlinearity::Tanh, Nonlinearity::Relu][nonlinearity];
    CellKind::Rnn(Cell { nonlinearity, clip })
}

/// The simple recurrent network (Elman 1990).
///
/// ``y, h = rnn(x, state=None, *, lengths=None, mask=None, resets=None)``; the arguments are explained
/// at ``forward_with_cache``. The state is the hidden state alone, an array.
///
/// Parameter names, state shapes and defaults are PyTorch's::
///
///     h' = tanh(W_ih x + b_ih + W_hh h + b_hh)
///
/// Parameters
/// ----------
/// input_size : int
///     Features of the input, 1 or more.
/// hidden_size : int
///     Units of each direction of each layer, 1 or more.
/// num_layers : int, default 1
///     Layers on top of each other, 1 to 10,000.
/// bias, batch_first, bidirectional, reverse, merge_mode, return_sequences, dtype, seed, init
///     As for `LSTM`.
/// nonlinearity : {"tanh", "relu"}, default "tanh"
///     What is made of the sum: its hyperbolic tangent, or the larger one of it and 0 (Le, Jaitly and
///     Hinton 2015).
/// clip : float or None, default None
///     Limit of the sum before its nonlinearity; positive. As in ONNX's operators.
/// dropout : float or list of float, default 0.0
///     Rate of dropout between layers, per element and step (Srivastava et al. 2014), in training mode as
///     all that follow. Each rate may be a list, one for each layer; that of the last layer means nothing here.
/// input_dropout, recurrent_dropout : float or list of float, default 0.0
///     Rates of dropout of every layer's input, and of the hidden state on its way to ``weight_hh``, one mask
///     for all gates; the state that is carried on stays whole (Gal and Ghahramani 2016; Semeniuta et al. 2016).
/// output_dropout : float or list of float, default 0.0
///     Rate of dropout of y, never of the recurrence; of a list, the last one.
/// update_dropout : float or list of float, default 0.0
///     Rate of dropout of the candidate (Semeniuta et al. 2016).
/// weight_dropout : float or list of float, default 0.0
///     Rate of dropout of ``weight_hh``, one mask a call (Wan et al. 2013, Merity et al. 2018).
/// variational : bool, default True
///     Whether the masks of ``input_dropout`` and ``recurrent_dropout`` are constant over time, one for each
///     row; else every step has its own.
/// zoneout : float or list of float, default 0.0
///     Rate at which units keep their old state (Krueger et al. 2016).
/// zoneout_eval : {"expectation", "identity"}, default "expectation"
///     What evaluation does: ``rate * old + (1 - rate) * new``, or nothing.
/// layer_norm
///     Not available yet: anything but the default raises ``ConfigError``.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value; the message names it.
/// ShapeError, DtypeError, NonFiniteError
///     If a callable ``init`` gives what its parameter can't have; the message names it.
/// MemoryError
///     If the weights don't fit.
///
/// Examples
/// --------
/// >>> import numpy as np
/// >>> import recurrust as rr
/// >>> rnn = rr.RNN(3, 5, nonlinearity="relu", seed=0)
/// >>> y, h = rnn(np.zeros((7, 2, 3), np.float32))
/// >>> y.shape, h.shape
/// ((7, 2, 5), (1, 2, 5))
#[pyclass(name = "RNN", frozen, subclass, extends = RecurrentLayer, module = "recurrust._core")]
pub struct Rnn;

#[pymethods]
impl Rnn {
    #[new]
    #[pyo3(signature = (input_size, hidden_size, num_layers = None, **keywords), text_signature = "(input_size, hidden_size, num_layers=1, *, bias=True, batch_first=False, bidirectional=False, reverse=False, merge_mode='concat', return_sequences=True, dropout=0.0, input_dropout=0.0, recurrent_dropout=0.0, output_dropout=0.0, update_dropout=0.0, weight_dropout=0.0, variational=True, zoneout=0.0, zoneout_eval='expectation', clip=None, layer_norm=False, nonlinearity='tanh', init='torch', dtype='float32', seed=None)")]
    fn new(
        input_size: &Bound<'_, PyAny>,
        hidden_size: &Bound<'_, PyAny>,
        num_layers: Option<&Bound<'_, PyAny>>,
        keywords: Option<Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let keywords = Keywords::new(
            "RNN",
            keywords,
            &[KEYWORDS, regularization::KEYWORDS, &["nonlinearity"]],
        )?;
        let nonlinearity = keywords.choice("nonlinearity", &NONLINEARITY_NAMES)?;
        let base = recurrent::layer(
            kind(nonlinearity, keywords.clip()?),
            STATES,
            [input_size, hidden_size],
            num_layers,
            &keywords,
        )?;
        Ok(base.add_subclass(Self))
    }
}

/// One step of a simple recurrent network, ``h = cell(x, h)``; see ``RNN`` for the equations.
///
/// Parameters
/// ----------
/// input_size : int
///     Features of the input, 1 or more.
/// hidden_size : int
///     Units, 1 or more.
/// bias : bool, default True
///     Whether there are ``bias_ih`` and ``bias_hh``.
/// nonlinearity : {"tanh", "relu"}, default "tanh"
///     What is made of the sum.
/// clip : float or None, default None
///     Limit of the pre-activations; positive.
/// init : {"torch", "glorot", "orthogonal", "rust_lstm"} or callable, default "torch"
///     Initial values of the parameters, as of ``RNN``.
/// dtype : {"float32", "float64"}, default "float32"
///     Type of parameters and results.
/// seed : int, optional
///     Seed of the initial weights; without it they come from the process-wide stream.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value.
///
/// Examples
/// --------
/// >>> import numpy as np
/// >>> import recurrust as rr
/// >>> cell = rr.RNNCell(3, 5, seed=0)
/// >>> h = cell(np.zeros((2, 3), np.float32))
/// >>> h.shape
/// (2, 5)
#[pyclass(name = "RNNCell", frozen, subclass, extends = RecurrentCell, module = "recurrust._core")]
pub struct RnnCell;

#[pymethods]
impl RnnCell {
    #[new]
    #[pyo3(signature = (input_size, hidden_size, **keywords), text_signature = "(input_size, hidden_size, *, bias=True, nonlinearity='tanh', clip=None, init='torch', dtype='float32', seed=None)")]
    fn new(
        input_size: &Bound<'_, PyAny>,
        hidden_size: &Bound<'_, PyAny>,
        keywords: Option<Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let keywords = Keywords::new("RNNCell", keywords, &[cell::KEYWORDS, &["nonlinearity"]])?;
        let nonlinearity = keywords.choice("nonlinearity", &NONLINEARITY_NAMES)?;
        let kind = kind(nonlinearity, keywords.clip()?);
        let base = cell::cell(kind, STATES, [input_size, hidden_size], &keywords)?;
        Ok(base.add_subclass(Self))
    }
}
