//! `LSTM` and `LSTMCell`.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::cell::{self, RecurrentCell};
use super::options::Keywords;
use super::recurrent::{self, KEYWORDS, RecurrentLayer};
use super::regularization;
use crate::cells::{self, CellKind, Clip, CoupledLstm, LstmOptions, LstmVariant};

/// Names of the states.
const STATES: &[&str] = &["h", "c"];

/// The keywords of one-step cells that others don't have.
const OWN_OF_CELLS: &[&str] = &["coupled", "forget_bias"];

/// The cell with these options: the plain one if there are none.
fn kind(coupled: bool, peephole: bool, clip: Clip) -> CellKind {
    let options = LstmOptions { peephole, clip };
    match (coupled, options) {
        (true, options) => CellKind::CoupledLstm(CoupledLstm { options }),
        (false, options) if options == LstmOptions::default() => CellKind::Lstm(cells::Lstm),
        (false, options) => CellKind::LstmVariant(LstmVariant { options }),
    }
}

/// Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).
///
/// ``y, state = lstm(x, state=None, *, lengths=None, mask=None, resets=None)``; the arguments are
/// explained at ``forward_with_cache``.
///
/// Gate order, parameter names, state shapes and defaults are PyTorch's. With
/// ``a = W_ih x + b_ih + W_hh h + b_hh`` of each gate::
///
///     i = sigmoid(a_i)    f = sigmoid(a_f)    g = tanh(a_g)    o = sigmoid(a_o)
///     c' = f c + i g      h' = o tanh(c')
///
/// Options change single lines of it::
///
///     peephole    i = sigmoid(a_i + p_i c)    f = sigmoid(a_f + p_f c)    o = sigmoid(a_o + p_o c')
///     coupled     f = 1 - i                   without a_f: the gates are i, g, o
///     clip        every sum within [-clip, clip] before its sigmoid or tanh
///
/// Parameters
/// ----------
/// input_size : int
///     Features of the input, 1 or more.
/// hidden_size : int
///     Units of each direction of each layer, 1 or more.
/// num_layers : int, default 1
///     Layers on top of each other, 1 to 10,000.
/// bias : bool, default True
///     Whether there are ``bias_ih`` and ``bias_hh``.
/// batch_first : bool, default False
///     Whether x and y are (B, T, F) rather than (T, B, F). States never are.
/// bidirectional : bool, default False
///     Whether a second direction runs backwards; its parameters end in ``_reverse``.
/// reverse : bool, default False
///     One direction that runs backwards, with outputs in the input's order.
/// merge_mode : {"concat", "sum", "average", "mul"}, default "concat"
///     How two directions become one, in every layer.
/// return_sequences : bool, default True
///     Whether y has every step, or only the final hidden state.
/// dtype : {"float32", "float64"}, default "float32"
///     Type of parameters and results.
/// seed : int, optional
///     Seed of the initial weights; without it they come from the process-wide stream
///     (``manual_seed``), of which every layer draws once. Both dtypes start from the same numbers.
/// init : {"torch", "glorot", "orthogonal", "rust_lstm"} or callable, default "torch"
///     Initial values of the parameters.
///
///     "torch": everything uniform in +-1/sqrt(hidden_size).
///     "glorot": weights uniform in +-sqrt(6 / (rows + columns)), rows and columns being those of the
///     whole matrix with all gates, as Keras counts them (Glorot and Bengio 2010); biases zero.
///     "orthogonal": ``weight_hh`` of each gate a random orthogonal matrix (Saxe et al. 2014), the
///     rest as with "glorot"; it takes time as the third power of ``hidden_size``.
///     "rust_lstm": weights uniform in +-0.1, biases zero. Peepholes are uniform, with the bound of
///     "torch" or of "rust_lstm".
///     A callable: ``init(name, shape)`` gives the array for each parameter, in the order and with
///     the names of ``named_parameters``; it is converted to ``dtype``, and ``seed`` means nothing.
/// forget_bias : float, optional
///     What the forget gate's quarter of every ``bias_ih`` starts with, and that of every ``bias_hh``
///     with zero, whatever ``init`` says. With 1 the cell remembers from the start (Jozefowicz et al.
///     2015). Like ``init`` and ``seed`` it isn't part of ``config``: a copy or a file has the weights.
/// peephole : bool, default False
///     Whether gates see the cell state (Gers and Schmidhuber 2000): i and f the old one, o the new one.
///     Their parameters are ``peephole_l0``, ..., (3H,) in the order i, f, o; (2H,), i and o, with
///     coupled gates.
/// coupled : bool, default False
///     Whether the forget gate is 1 - i (Greff et al. 2017); the weights then are (3H, .) in the order
///     i, g, o.
/// clip : float or None, default None
///     Limit of the pre-activations, peepholes included; positive. As in ONNX's operators.
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
/// zoneout : float, pair of float, or list of these, default 0.0
///     Rate at which units keep their old state (Krueger et al. 2016): of both states alike, or a tuple
///     (cell, hidden). h comes from the new cell state before zoneout; y and the next step see what is kept.
/// zoneout_eval : {"expectation", "identity"}, default "expectation"
///     What evaluation does: ``rate * old + (1 - rate) * new``, or nothing.
/// proj_size, layer_norm
///     Not available yet: anything but the default raises ``ConfigError``.
///
/// Raises
/// ------
/// ConfigError, DtypeError
///     If an option can't have that value; the message names it.
/// ShapeError, DtypeError, NonFiniteError
///     If what a callable ``init`` gives has another shape, isn't an array of real numbers, or isn't
///     finite; the message names the parameter. What the callable raises is raised.
/// MemoryError
///     If the weights don't fit.
///
/// Examples
/// --------
/// >>> import numpy as np
/// >>> import recurrust as rr
/// >>> lstm = rr.LSTM(3, 5, seed=0)
/// >>> y, (h, c) = lstm(np.zeros((7, 2, 3), np.float32))
/// >>> y.shape, h.shape
/// ((7, 2, 5), (1, 2, 5))
#[pyclass(name = "LSTM", frozen, subclass, extends = RecurrentLayer, module = "recurrust._core")]
pub struct Lstm;

#[pymethods]
impl Lstm {
    #[new]
    #[pyo3(signature = (input_size, hidden_size, num_layers = None, **keywords), text_signature = "(input_size, hidden_size, num_layers=1, *, bias=True, batch_first=False, bidirectional=False, reverse=False, merge_mode='concat', return_sequences=True, dropout=0.0, input_dropout=0.0, recurrent_dropout=0.0, output_dropout=0.0, update_dropout=0.0, weight_dropout=0.0, variational=True, zoneout=0.0, zoneout_eval='expectation', proj_size=0, peephole=False, coupled=False, clip=None, layer_norm=False, forget_bias=None, init='torch', dtype='float32', seed=None)")]
    fn new(
        input_size: &Bound<'_, PyAny>,
        hidden_size: &Bound<'_, PyAny>,
        num_layers: Option<&Bound<'_, PyAny>>,
        keywords: Option<Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let keywords = Keywords::new(
            "LSTM",
            keywords,
            &[
                KEYWORDS,
                regularization::KEYWORDS,
                &["proj_size", "peephole", "coupled", "forget_bias"],
            ],
        )?;
        keywords.later("proj_size", 0)?;
        let (coupled, peephole) = (
            keywords.boolean("coupled", false)?,
            keywords.boolean("peephole", false)?,
        );
        let cell = kind(coupled, peephole, keywords.clip()?);
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

/// One step of a long short-term memory, ``h, c = cell(x, (h, c))``; see ``LSTM`` for the equations.
///
/// Parameters
/// ----------
/// input_size : int
///     Features of the input, 1 or more.
/// hidden_size : int
///     Units, 1 or more.
/// bias : bool, default True
///     Whether there are ``bias_ih`` and ``bias_hh``.
/// coupled : bool, default False
///     Whether the forget gate is 1 - i; the weights then are (3H, .) in the order i, g, o.
/// clip : float or None, default None
///     Limit of the pre-activations; positive.
/// init : {"torch", "glorot", "orthogonal", "rust_lstm"} or callable, default "torch"
///     Initial values of the parameters, as of ``LSTM``.
/// forget_bias : float, optional
///     What the forget gate's quarter of ``bias_ih`` starts with, and that of ``bias_hh`` with zero.
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
/// >>> cell = rr.LSTMCell(3, 5, seed=0)
/// >>> h, c = cell(np.zeros((2, 3), np.float32))
/// >>> h.shape
/// (2, 5)
#[pyclass(name = "LSTMCell", frozen, subclass, extends = RecurrentCell, module = "recurrust._core")]
pub struct LstmCell;

#[pymethods]
impl LstmCell {
    #[new]
    #[pyo3(signature = (input_size, hidden_size, **keywords), text_signature = "(input_size, hidden_size, *, bias=True, coupled=False, clip=None, forget_bias=None, init='torch', dtype='float32', seed=None)")]
    fn new(
        input_size: &Bound<'_, PyAny>,
        hidden_size: &Bound<'_, PyAny>,
        keywords: Option<Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let keywords = Keywords::new("LSTMCell", keywords, &[cell::KEYWORDS, OWN_OF_CELLS])?;
        let kind = kind(keywords.boolean("coupled", false)?, false, keywords.clip()?);
        let base = cell::cell(kind, STATES, [input_size, hidden_size], &keywords)?;
        Ok(base.add_subclass(Self))
    }
}

/// One step of a long short-term memory whose gates see the cell state, ``h, c = cell(x, (h, c))``.
///
/// As ``LSTMCell``, with peepholes: see ``peephole`` of ``LSTM``. Their parameter is ``peephole``, (3H,)
/// in the order i, f, o.
///
/// Parameters
/// ----------
/// input_size : int
///     Features of the input, 1 or more.
/// hidden_size : int
///     Units, 1 or more.
/// bias : bool, default True
///     Whether there are ``bias_ih`` and ``bias_hh``.
/// coupled : bool, default False
///     Whether the forget gate is 1 - i; the weights then are (3H, .) in the order i, g, o.
/// clip : float or None, default None
///     Limit of the pre-activations; positive.
/// init : {"torch", "glorot", "orthogonal", "rust_lstm"} or callable, default "torch"
///     Initial values of the parameters, as of ``LSTM``.
/// forget_bias : float, optional
///     What the forget gate's quarter of ``bias_ih`` starts with, and that of ``bias_hh`` with zero.
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
/// >>> cell = rr.PeepholeLSTMCell(3, 5, seed=0)
/// >>> cell.peephole.shape
/// (15,)
#[pyclass(name = "PeepholeLSTMCell", frozen, subclass, extends = RecurrentCell, module = "recurrust._core")]
pub struct PeepholeLstmCell;

#[pymethods]
impl PeepholeLstmCell {
    #[new]
    #[pyo3(signature = (input_size, hidden_size, **keywords), text_signature = "(input_size, hidden_size, *, bias=True, coupled=False, clip=None, forget_bias=None, init='torch', dtype='float32', seed=None)")]
    fn new(
        input_size: &Bound<'_, PyAny>,
        hidden_size: &Bound<'_, PyAny>,
        keywords: Option<Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let keywords = Keywords::new(
            "PeepholeLSTMCell",
            keywords,
            &[cell::KEYWORDS, OWN_OF_CELLS],
        )?;
        let kind = kind(keywords.boolean("coupled", false)?, true, keywords.clip()?);
        let base = cell::cell(kind, STATES, [input_size, hidden_size], &keywords)?;
        Ok(base.add_subclass(Self))
    }
}
