//! `Stream`: a network one step at a time.

use std::sync::{Arc, Mutex};

use numpy::{PyArrayDescrMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyTuple};

use super::arrays::{self, Contiguous, Output, Rows};
use super::freezing::{Blueprint, freeze, precision};
use super::options;
use super::run::with_locked;
use super::stack::{StackElement, states, states_to_numpy};
use crate::error::{Error, shape_text};
use crate::float::Precision;
use crate::memory::filled_vec;
use crate::streaming::{FrozenLayer, Stream as Core};

/// What to do about another number of rows.
const ROWS_HINT: &str = " (for other rows make another stream: layer.stream(batch_size=...))";

/// A network that goes one step at a time and keeps its state; made by ``stream`` of a layer or a
/// ``Sequential``.
///
/// Weights are those that the network had when the stream was made: training it later changes
/// nothing here. Nothing acts that acts in training only. Streams may be shared between threads:
/// one step is made after the other.
#[pyclass(frozen, weakref, module = "recurrust._core")]
pub struct Stream {
    core: AnyCore,
    layers: Arc<[Layer]>,
    /// Whether it was made of a ``Sequential``, so that there is an entry a layer in its state.
    sequential: bool,
    batch_size: usize,
    /// Whether x is one index a row.
    takes_indices: bool,
    input_size: usize,
    output_size: usize,
    /// Operations of a step.
    cost: usize,
}

/// What a stream knows about one of its layers.
struct Layer {
    blueprint: Blueprint,
    /// As in "layer 0 (LSTM)".
    label: String,
    /// The shape of each state.
    state_shape: [usize; 3],
}

impl Layer {
    /// A state argument: one array a state; None stands for zeros. A single row needs no axis.
    fn states<'py, F: StackElement>(
        &self,
        value: &Bound<'py, PyAny>,
        argument: &str,
    ) -> PyResult<Vec<Contiguous<'py, F>>> {
        let names = self.blueprint.states();
        let [layers, rows, hidden] = self.state_shape;
        states(Some(value), argument, names, &self.state_shape).or_else(|error| {
            if rows == 1 {
                states(Some(value), argument, names, &[layers, hidden]).map_err(|_| error)
            } else {
                Err(error)
            }
        })
    }
}

/// A stream of either precision.
enum AnyCore {
    /// float32.
    Single(Mutex<Core<f32>>),
    /// float64.
    Double(Mutex<Core<f64>>),
}

/// Runs an expression with `$core` bound to the typed stream.
macro_rules! with_core {
    ($any:expr, $core:ident => $body:expr) => {
        match $any {
            AnyCore::Single($core) => $body,
            AnyCore::Double($core) => $body,
        }
    };
}

/// Numbers that streams compute with.
trait Streamed: StackElement {
    fn any(core: Core<Self>) -> AnyCore;
}

impl Streamed for f32 {
    fn any(core: Core<Self>) -> AnyCore {
        AnyCore::Single(Mutex::new(core))
    }
}

impl Streamed for f64 {
    fn any(core: Core<Self>) -> AnyCore {
        AnyCore::Double(Mutex::new(core))
    }
}

impl Stream {
    /// A stream of one recurrent layer.
    pub fn of_layer(
        layer: &Bound<'_, PyAny>,
        batch_size: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Self::new(layer.py(), std::slice::from_ref(layer), false, batch_size)
    }

    fn new(
        py: Python<'_>,
        layers: &[Bound<'_, PyAny>],
        sequential: bool,
        batch_size: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let batch_size =
            batch_size.map_or(Ok(1), |size| options::integer("batch_size", size, 1))?;
        match precision(layers) {
            Precision::Single => Self::typed::<f32>(py, layers, sequential, batch_size),
            Precision::Double => Self::typed::<f64>(py, layers, sequential, batch_size),
        }
    }

    fn typed<F: Streamed>(
        py: Python<'_>,
        layers: &[Bound<'_, PyAny>],
        sequential: bool,
        batch_size: usize,
    ) -> PyResult<Self> {
        let mut labels = Vec::with_capacity(layers.len());
        let mut frozen = Vec::with_capacity(layers.len());
        for (index, layer) in layers.iter().enumerate() {
            let class = layer.get_type().name()?;
            let label = if sequential {
                format!("layer {index} ({class})")
            } else {
                class.to_string()
            };
            frozen.push(freeze::<F>(layer, &label)?);
            labels.push(label);
        }
        let core = py.detach(|| Core::new(frozen, batch_size))?;
        let mut known = Vec::with_capacity(layers.len());
        for (index, (frozen, label)) in core.layers().zip(labels).enumerate() {
            known.push(Layer {
                blueprint: Blueprint::new(&layers[index], frozen)?,
                label,
                state_shape: core.state_shape(index),
            });
        }
        Ok(Self::around(core, known.into(), sequential))
    }

    fn around<F: Streamed>(core: Core<F>, layers: Arc<[Layer]>, sequential: bool) -> Self {
        Self {
            layers,
            sequential,
            batch_size: core.rows(),
            takes_indices: core.takes_indices(),
            input_size: core.inputs(),
            output_size: core.outputs(),
            cost: core.cost(),
            core: F::any(core),
        }
    }

    /// x, checked, and whether it has a batch axis.
    fn input<'py, F: Streamed>(&self, x: &Bound<'py, PyAny>) -> PyResult<(Rows<'py, F>, bool)> {
        let array = arrays::numbers(x, "x")?;
        let expected = [self.batch_size, self.input_size];
        let batched = array.ndim() == 2;
        let fits =
            array.shape() == expected || (self.batch_size == 1 && array.shape() == &expected[1..]);
        if !fits {
            let mut text = format!("shape {}", shape_text(&expected));
            if self.batch_size == 1 {
                text = format!("{text} or {}", shape_text(&expected[1..]));
            }
            if array.ndim() == 2 && array.shape()[1] == self.input_size {
                text += ROWS_HINT;
            }
            return Err(Error::shape("x", text, shape_text(array.shape())).into());
        }
        Ok((Rows::new(&array)?, batched))
    }

    /// x as one index a row, checked, and its shape.
    fn indices(&self, x: &Bound<'_, PyAny>) -> PyResult<(Vec<i64>, Vec<usize>)> {
        // A number of Python's own, without a way through NumPy.
        if self.batch_size == 1
            && let Ok(number) = x.cast_exact::<PyInt>()
            && let Ok(index) = number.extract()
        {
            return Ok((vec![index], Vec::new()));
        }
        let (indices, shape) = arrays::integers(x, "x", false)?;
        if shape == [self.batch_size] || (self.batch_size == 1 && shape.is_empty()) {
            return Ok((indices, shape));
        }
        let mut expected = format!("shape {}, one index a row", shape_text(&[self.batch_size]));
        if self.batch_size == 1 {
            expected += ", or one index";
        }
        if shape.len() == 1 {
            expected += ROWS_HINT;
        }
        Err(Error::shape("x", expected, shape_text(&shape)).into())
    }

    /// Where a step's result goes: to the array given, or to a new one.
    fn output<'py, F: Streamed>(
        &self,
        py: Python<'py>,
        out: Option<&Bound<'py, PyAny>>,
        batched: bool,
    ) -> PyResult<Output<'py, F>> {
        let shape = [self.batch_size, self.output_size];
        let shape = if batched { &shape[..] } else { &shape[1..] };
        match out.filter(|out| !out.is_none()) {
            Some(out) => Output::given(out, "out", shape),
            None => Output::new(py, shape),
        }
    }

    fn step_typed<'py, F: Streamed>(
        &self,
        core: &Mutex<Core<F>>,
        x: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        // Whatever may fail comes before the step.
        if self.takes_indices {
            let (indices, shape) = self.indices(x)?;
            let output = self.output(py, out, !shape.is_empty())?;
            let memory = output.memory();
            with_locked(py, core, self.cost, |core| {
                let values = core.step_indices(&indices, &shape)?;
                memory.fill(values);
                Ok::<_, Error>(())
            })?;
            return Ok(output.into_array());
        }
        let (x, batched) = self.input::<F>(x)?;
        let output = self.output(py, out, batched)?;
        let input = x.sequence((None, batched.then_some(0)));
        let memory = output.memory();
        with_locked(py, core, self.cost, |core| {
            core.step(input).map(|values| memory.fill(values))
        })?;
        Ok(output.into_array())
    }

    fn state_typed<'py, F: Streamed>(
        &self,
        py: Python<'py>,
        core: &Mutex<Core<F>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let states = with_locked(py, core, self.cost, |core| core.states())?;
        self.to_python(py, states)
    }

    /// Every layer's states as Python has them.
    fn to_python<'py, F: Streamed>(
        &self,
        py: Python<'py>,
        states: Vec<Vec<Vec<F>>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut entries = self
            .layers
            .iter()
            .zip(states)
            .map(|(layer, states)| {
                if states.is_empty() {
                    return Ok(py.None().into_bound(py));
                }
                states_to_numpy(py, states, &layer.state_shape)
            })
            .collect::<PyResult<Vec<_>>>()?;
        if self.sequential {
            return Ok(PyTuple::new(py, entries)?.into_any());
        }
        Ok(entries.remove(0))
    }

    fn set_state_typed<F: Streamed>(
        &self,
        core: &Mutex<Core<F>>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let entries = self.state_entries(value)?;
        let arrays = self
            .layers
            .iter()
            .zip(&entries)
            .enumerate()
            .map(|(index, (layer, entry))| {
                let argument = if self.sequential {
                    format!("state[{index}]")
                } else {
                    "state".to_owned()
                };
                if entry.is_none() || !layer.blueprint.states().is_empty() {
                    return layer.states::<F>(entry, &argument);
                }
                let expected = format!("None, as {} has none", layer.label);
                let got = options::shown(entry);
                Err(Error::config(argument, expected, got).into())
            })
            .collect::<PyResult<Vec<_>>>()?;
        let slices: Vec<Vec<&[F]>> = arrays
            .iter()
            .map(|arrays| arrays.iter().map(Contiguous::as_slice).collect())
            .collect();
        with_locked(value.py(), core, self.cost, |core| core.set_states(&slices))?;
        Ok(())
    }

    /// One entry of a state argument for each layer.
    fn state_entries<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let count = self.layers.len();
        if value.is_none() || !self.sequential {
            return Ok(vec![value.clone(); count]);
        }
        let entries: Vec<_> = if let Ok(tuple) = value.cast::<PyTuple>() {
            tuple.iter().collect()
        } else if let Ok(list) = value.cast::<PyList>() {
            list.iter().collect()
        } else {
            let expected = "a tuple or list with one entry a layer";
            return Err(Error::dtype("state", expected, options::shown(value)).into());
        };
        if entries.len() != count {
            let expected = format!("one entry a layer ({count})");
            return Err(Error::config("state", expected, entries.len().to_string()).into());
        }
        Ok(entries)
    }

    fn clone_typed<F: Streamed>(&self, py: Python<'_>, core: &Mutex<Core<F>>) -> PyResult<Self> {
        let clone = with_locked(py, core, self.cost, |core| core.try_clone())?;
        let layers = Arc::clone(&self.layers);
        Ok(Self::around(clone, layers, self.sequential))
    }

    fn reduce_typed<'py, F: Streamed>(
        &self,
        py: Python<'py>,
        core: &Mutex<Core<F>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (frozen, states) = with_locked(py, core, self.cost, |core| {
            let frozen: Vec<FrozenLayer<F>> = core.layers().cloned().collect();
            core.states().map(|states| (frozen, states))
        })?;
        let mut layers = self
            .layers
            .iter()
            .zip(&frozen)
            .map(|(layer, frozen)| layer.blueprint.build(py, frozen))
            .collect::<PyResult<Vec<_>>>()?;
        let model = if self.sequential {
            py.import("recurrust.sequential")?
                .getattr("Sequential")?
                .call1(PyTuple::new(py, layers)?)?
        } else {
            layers.remove(0)
        };
        let rebuild = py
            .import("recurrust.serialization")?
            .getattr("_rebuild_stream")?;
        let state = self.to_python(py, states)?;
        (rebuild, (model, self.batch_size, state)).into_pyobject(py)
    }
}

#[pymethods]
impl Stream {
    /// One step of every row.
    ///
    /// Parameters
    /// ----------
    /// x : array_like, shape (batch_size, input_size); with ``batch_size=1`` also (input_size,)
    ///     The inputs of this step. Converted when the dtype is another. Where the first layer is an
    ///     ``Embedding``, integers of shape (batch_size,); with ``batch_size=1`` also one integer.
    /// out : numpy.ndarray, shaped like y, optional
    ///     C-contiguous and of the stream's dtype: written and returned instead of a new array. May
    ///     be x itself where shapes agree.
    ///
    /// Returns
    /// -------
    /// y : numpy.ndarray, shape (batch_size, output_size) or (output_size,)
    ///     The outputs of this step.
    ///
    /// Raises
    /// ------
    /// ShapeError, DtypeError, ConfigError
    ///     If an argument doesn't fit; the message names it, and the state is as it was.
    #[pyo3(signature = (x, out = None))]
    fn step<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        with_core!(&self.core, core => self.step_typed(core, x, out))
    }

    /// Start anew: set states to zero.
    ///
    /// Parameters
    /// ----------
    /// rows : int, array_like of int or array_like of bool, optional
    ///     Which rows: indices as NumPy has them, negative ones from the end, or a mask of shape
    ///     (batch_size,). All when None.
    ///
    /// Raises
    /// ------
    /// ConfigError, ShapeError, DtypeError
    ///     If there are no such rows; nothing has changed then.
    #[pyo3(signature = (rows = None))]
    fn reset(&self, py: Python<'_>, rows: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let Some(rows) = rows.filter(|rows| !rows.is_none()) else {
            with_core!(&self.core, core => with_locked(py, core, self.cost, Core::reset));
            return Ok(());
        };
        let flags = row_flags(rows, self.batch_size)?;
        with_core!(&self.core, core => {
            with_locked(py, core, self.cost, |core| core.reset_rows(&flags))?;
        });
        Ok(())
    }

    /// All that the next step depends on besides its input: copies.
    ///
    /// For a recurrent layer as the layer has it: ``(h, c)`` of an LSTM, each (num_layers,
    /// batch_size, H). For a ``Sequential`` a tuple with one such entry a layer, None for layers
    /// without state. It fits the ``state`` argument of the network, and the states that the network
    /// returns can be set here; None sets zeros. Setting is all or nothing.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        with_core!(&self.core, core => self.state_typed(py, core))
    }

    #[setter]
    fn set_state(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        with_core!(&self.core, core => self.set_state_typed(core, value))
    }

    /// A stream with the same weights and state that goes on by itself.
    ///
    /// The weights are shared: a clone needs memory for its states only.
    fn clone(&self, py: Python<'_>) -> PyResult<Self> {
        with_core!(&self.core, core => self.clone_typed(py, core))
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        self.clone(py)
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.clone(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        with_core!(&self.core, core => self.reduce_typed(py, core))
    }

    /// Rows of x and y.
    #[getter]
    fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Features of x; of the vectors of an ``Embedding``, where x is integers.
    #[getter]
    fn input_size(&self) -> usize {
        self.input_size
    }

    /// Features of y.
    #[getter]
    fn output_size(&self) -> usize {
        self.output_size
    }

    /// Name of the element type, ``"float32"`` or ``"float64"``.
    #[getter]
    fn dtype(&self) -> &'static str {
        match self.core {
            AnyCore::Single(_) => Precision::Single.name(),
            AnyCore::Double(_) => Precision::Double.name(),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let layers = self.layers.iter().map(|layer| layer.blueprint.text(py));
        Ok(format!(
            "Stream({}, batch_size={}, dtype={:?})",
            layers.collect::<PyResult<Vec<_>>>()?.join(", "),
            self.batch_size,
            self.dtype()
        ))
    }
}

/// One flag a row, from indices or flags.
fn row_flags(rows: &Bound<'_, PyAny>, count: usize) -> PyResult<Vec<bool>> {
    let array = arrays::numbers(rows, "rows")?;
    if array.dtype().kind() == b'b' {
        return arrays::flags(array.as_any(), "rows", &[count], false);
    }
    let (indices, shape) = arrays::integers(array.as_any(), "rows", false)?;
    if shape.len() > 1 {
        let expected = "one index or a list of indices";
        return Err(Error::shape("rows", expected, format!("shape {}", shape_text(&shape))).into());
    }
    let mut flags = filled_vec(false, count)?;
    for (place, index) in indices.into_iter().enumerate() {
        let row = isize::try_from(index).ok().and_then(|index| {
            let from = if index < 0 { count } else { 0 };
            from.checked_add_signed(index)
        });
        let Some(flag) = row.and_then(|row| flags.get_mut(row)) else {
            let expected = format!("-{count} to {}", count - 1);
            let got = index.to_string();
            return Err(Error::config(format!("rows[{place}]"), expected, got).into());
        };
        *flag = true;
    }
    Ok(flags)
}

/// A stream of layers one after the other; what ``Sequential.stream`` calls.
#[pyfunction]
pub fn stream(layers: &Bound<'_, PyTuple>, batch_size: &Bound<'_, PyAny>) -> PyResult<Stream> {
    let py = layers.py();
    let layers: Vec<_> = layers.iter().collect();
    Stream::new(py, &layers, true, Some(batch_size))
}
