//! `GRU` and `GRUCell`.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::cell::{self, RecurrentCell};
use super::options::Keywords;
use super::recurrent::{self, KEYWORDS, RecurrentLayer};
use super::regularization;
use crate::cells::{self, CellKind, Clip};

/// Names of the states.
const STATES: &[&str] = &["h"];

/// The cell with these options.
fn kind(reset_after: bool, clip: Clip) -> CellKind {
    if reset_after {
        CellKind::Gru(cells::Gru { clip })
    } else {
        CellKind::GruBefore(cells::GruBefore { clip })
    }
}

/// Gated recurrent units (Cho et al. 2014).
///
/// ``y, h = gru(x, state=None, *, lengths=None, mask=None, resets=None)``; the arguments are explained
/// at ``forward_with_cache``. The state is the hidden state alone, an array.
///
/// Gate order (r, z, n), parameter names, state shapes and defaults are PyTorch's. With
/// ``a = W_ih x + b_ih + W_hh h + b_hh`` of the gates r and z::
///
///     r = sigmoid(a_r)    z = sigmoid(a_z)    n = tanh(W_in x + b_in + r (W_hn h + b_hn))
///     h' = (1 - z) n + z h
///
/// With ``reset_after=False``: ``n = tanh(W_in x + b_in + W_hn (r h) + b_hn)``.
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
/// reset_after : bool, default True
///     Whether the reset gate acts after the candidate's recurrent product, as in PyTorch and Keras, or
///     before it, as in the paper and by default in ONNX. Before it takes a second product in a row.
/// clip : float or None, default None
///     Limit of the sums before their sigmoid or tanh; positive. As in ONNX's operators.
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
/// >>> gru = rr.GRU(3, 5, seed=0)
/// >>> y, h = gru(np.zeros((7, 2, 3), np.float32))
/// >>> y.shape, h.shape
/// ((7, 2, 5), (1, 2, 5))
#[pyclass(name = "GRU", frozen, subclass, extends = RecurrentLayer, module = "recurrust._core")]
pub struct Gru;

#[pymethods]
impl Gru {
    #[new]
    #[pyo3(signature = (input_size, hidden_size, num_layers = None, **keywords), text_signature = "(input_size, hidden_size, num_layers=1, *, bias=True, batch_first=False, bidirectional=False, reverse=False, merge_mode='concat', return_sequences=True, dropout=0.0, input_dropout=0.0, recurrent_dropout=0.0, output_dropout=0.0, update_dropout=0.0, weight_dropout=0.0, variational=True, zoneout=0.0, zoneout_eval='expectation', clip=None, layer_norm=False, reset_after=True, init='torch', dtype='float32', seed=None)")]
    fn new(
        input_size: &Bound<'_, PyAny>,
        hidden_size: &Bound<'_, PyAny>,
        num_layers: Option<&Bound<'_, PyAny>>,
        keywords: Option<Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let keywords = Keywords::new(
            "GRU",
            keywords,
            &[KEYWORDS, regularization::KEYWORDS, &["reset_after"]],
        )?;
        let cell = kind(keywords.boolean("reset_after", true)?, keywords.clip()?);
        let base = recurrent::layer(
            cell,
            STATES,
            [input_size, hidden_size],
            num_layers,
            &keywords,
        )?;
        Ok(base.add_subclass(Self))
    }
}

/// One step of gated recurrent units, ``h = cell(x, h)``; see ``GRU`` for the equations.
///
/// Parameters
/// ----------
/// input_size : int
///     Features of the input, 1 or more.
/// hidden_size : int
///     Units, 1 or more.
/// bias : bool, default True
///     Whether there are ``bias_ih`` and ``bias_hh``.
/// reset_after : bool, default True
///     As of ``GRU``.
/// clip : float or None, default None
///     Limit of the pre-activations; positive.
/// init : {"torch", "glorot", "orthogonal", "rust_lstm"} or callable, default "torch"
///     Initial values of the parameters, as of ``GRU``.
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
/// >>> cell = rr.GRUCell(3, 5, seed=0)
/// >>> h = cell(np.zeros((2, 3), np.float32))
/// >>> h.shape
/// (2, 5)
#[pyclass(name = "GRUCell", frozen, subclass, extends = RecurrentCell, module = "recurrust._core")]
pub struct GruCell;

#[pymethods]
impl GruCell {
    #[new]
    #[pyo3(signature = (input_size, hidden_size, **keywords), text_signature = "(input_size, hidden_size, *, bias=True, reset_after=True, clip=None, init='torch', dtype='float32', seed=None)")]
    fn new(
        input_size: &Bound<'_, PyAny>,
        hidden_size: &Bound<'_, PyAny>,
        keywords: Option<Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let keywords = Keywords::new("GRUCell", keywords, &[cell::KEYWORDS, &["reset_after"]])?;
        let kind = kind(keywords.boolean("reset_after", true)?, keywords.clip()?);
        let base = cell::cell(kind, STATES, [input_size, hidden_size], &keywords)?;
        Ok(base.add_subclass(Self))
    }
}
