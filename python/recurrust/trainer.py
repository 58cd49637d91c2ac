"""The training loop."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from recurrust import _core
from recurrust._arguments import (
    require_choice,
    require_integer,
    require_object,
    require_real,
    require_seed,
)
from recurrust._samples import Batch, Samples
from recurrust.callbacks import LinePrinter, ProgressBar
from recurrust.exceptions import ConfigError, DtypeError, NonFiniteError, ShapeError
from recurrust.history import History
from recurrust.schedulers import LambdaLR
from recurrust.sequential import Layer, Sequential

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from recurrust.callbacks import Callback

__all__ = ["Trainer"]

Metric: TypeAlias = "Callable[[NDArray[Any], NDArray[Any]], float]"

# Quantities of the history that no metric may be named after.
_RESERVED = ("loss", "lr", "skipped")

# Losses that count every element once unless told otherwise.
_PLAIN_MEANS = (
    _core.MSELoss,
    _core.MAELoss,
    _core.HuberLoss,
    _core.SmoothL1Loss,
    _core.BCEWithLogitsLoss,
)

_HOOKS = ("on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end")


class Loss(Protocol):
    """What a loss must offer: one of recurrust, or your own.

    `mask` and `sample_weight` are passed as keywords where there are any. A loss that does not
    weigh all elements alike also has `total_weight`, with the arguments of the call: the sum that
    the mean is divided by.
    """

    def __call__(self, pred: Any, target: Any, /) -> Any:
        """Return the loss."""

    @property
    def value_and_grad(self) -> Callable[..., tuple[Any, NDArray[Any]]]:
        """Return the loss and its gradient with respect to the prediction."""


class Optimizer(Protocol):
    """What an optimizer must offer: one of recurrust, or your own."""

    @property
    def lr(self) -> float:
        """The learning rate."""

    def step(self) -> Any:
        """Move the parameters along their gradients."""


class Scheduler(Protocol):
    """What a learning rate schedule must offer: one of recurrust, or your own.

    One that has the attribute `optimizer` is used with that optimizer only.
    """

    def step(self, metric: float | None = None, /) -> Any:
        """Go on to the next rate."""

    def state_dict(self) -> Any:
        """Return all that changes from step to step."""


class Trainer:
    """Fits a model to data.

    In all data samples are on axis 0, whatever the model's `batch_first` says. Inputs may be a
    list of arrays (steps_i, features) of different lengths; they are padded batch by batch.
    Targets of such inputs are an array with one entry per sample, or a list with one sequence per
    input. Where `lengths` are given and the model has an output for every step, only the valid
    steps count in the loss and the metrics.

    Parameters
    ----------
    model : Layer
        A `Sequential` or any other layer. `fit`, `evaluate` and `predict` switch its modes as
        they need and leave each layer in the mode that they found.
    loss : object
        A loss with reduction "mean" or "sum".
    optimizer : object
        An optimizer of the model's parameters.
    scheduler : LRScheduler or callable, optional
        The schedule of the learning rate, built on `optimizer`: one of recurrust, or an object of
        your own with `step(metric)` and `state_dict()`. A function of the number of steps taken
        returns the factor of the optimizer's rate, as for `LambdaLR`.
    schedule_every : {"epoch", "batch"}, default "epoch"
        What a step of the schedule is. After each epoch it gets the validation loss, or the loss
        without validation data; after each batch, the loss of the batch. Epochs and batches count
        over all calls of `fit`, and a batch that is given to `train_step` counts as well. A batch
        whose step was skipped (`on_nonfinite`) doesn't, and neither does an interrupted epoch.
        Callbacks see the optimizer's rate after the schedule's step.
    clip_norm : float, optional
        Scale the gradients of all the model's parameters together down to this norm.
    tbptt : None
        Truncated backpropagation is not available yet.
    callbacks : iterable of Callback
        What to call while training.
    metrics : iterable of callables, or mapping of str to callable
        Functions of predictions and targets that return a number. They see all valid steps or
        samples of an epoch or data set at once. In an iterable each goes by its own name.
    on_nonfinite : {"raise", "skip"}, default "raise"
        What to do about a loss or gradient that is not finite: raise `NonFiniteError`, or skip
        the step and count it in the history as "skipped". The weights are untouched either way.
    seed : int, optional
        Seed of the shuffling, which depends on it and the number of the epoch alone. By default
        it follows from the state of the process-wide random stream.

    Attributes
    ----------
    network : Sequential
        The model, or a network of the model alone if that is another layer.
    epoch : int
        How many epochs have been completed, over all calls of `fit`.
    history : History
        The record of the latest `fit`, complete up to the latest epoch also while it runs.

    Raises
    ------
    ConfigError
        If an option has a value that it can't have, or is not available yet; if `optimizer` has
        none of the model's parameters; or if `scheduler` was built on another optimizer.
    DtypeError
        If an argument is not the kind of object or number that it must be.

    Examples
    --------
    >>> import numpy as np, recurrust as rr
    >>> x, y = rr.data.windows(np.sin(np.arange(300, dtype=np.float32)), window=20, horizon=1)
    >>> model = rr.Sequential(
    ...     rr.LSTM(1, 16, batch_first=True, return_sequences=False, seed=1),
    ...     rr.Linear(16, 1, seed=2),
    ... )
    >>> optimizer = rr.Adam(model.parameters(), lr=0.01)
    >>> trainer = rr.Trainer(model, rr.MSELoss(), optimizer, clip_norm=1.0, seed=3)
    >>> history = trainer.fit(x, y, epochs=20, validation_split=0.2, verbose=0)
    >>> history["val_loss"][-1] < 0.05
    True
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        scheduler: Scheduler | Callable[[int], float] | None = None,
        *,
        schedule_every: Literal["epoch", "batch"] = "epoch",
        clip_norm: float | None = None,
        tbptt: None = None,
        callbacks: Iterable[Callback] = (),
        metrics: Iterable[Metric] | Mapping[str, Metric] = (),
        on_nonfinite: Literal["raise", "skip"] = "raise",
        seed: int | None = None,
    ) -> None:
        if tbptt is not None:
            raise ConfigError("tbptt: not available yet; leave it at its default")
        require_choice("schedule_every", schedule_every, ("epoch", "batch"))
        require_object("loss", loss, ("__call__", "value_and_grad"), "rr.MSELoss()")
        if getattr(loss, "reduction", None) == "none":
            raise ConfigError('loss must have reduction "mean" or "sum" to be trained on')
        if clip_norm is not None and not 0 < require_real("clip_norm", clip_norm) < math.inf:
            raise ConfigError(f"clip_norm must be positive and finite, got {clip_norm}")
        require_choice("on_nonfinite", on_nonfinite, ("raise", "skip"))
        if not isinstance(callbacks, Iterable):
            raise DtypeError(f"callbacks must be a list of callbacks, got {callbacks!r:.80}")
        callbacks = tuple(callbacks)
        for index, callback in enumerate(callbacks):
            require_object(f"callbacks[{index}]", callback, _HOOKS, "rr.EarlyStopping()")
        example = "rr.Adam(model.parameters())"
        require_object("optimizer", optimizer, ("lr", "step"), example)
        self.model = model
        self.network = model if isinstance(model, Sequential) else Sequential(model)
        _require_shared_parameters(optimizer, self.network)
        self.loss = loss
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        self.callbacks = callbacks
        self.metrics = _named_metrics(metrics)
        self.on_nonfinite = on_nonfinite
        self.schedule_every = schedule_every
        self.seed = _seed_from_stream() if seed is None else require_seed(seed)
        self.epoch = 0
        self.history = History(())
        self._stopping = False
        # The last: a function that becomes a schedule sets the optimizer's rate.
        self.scheduler = _scheduler_of(optimizer, scheduler)

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int,
        batch_size: int = 32,
        validation_data: tuple[Any, Any] | Mapping[str, Any] | None = None,
        validation_split: float = 0.0,
        lengths: ArrayLike | None = None,
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        verbose: int = 1,
        check_finite: bool = True,
    ) -> History:
        """Train for some epochs.

        Parameters
        ----------
        x : array_like or list of array_like
            Inputs: shape (samples, steps, features), a list of arrays (steps_i, features), or
            (samples, features) for a model without recurrent layer. For a model that starts with
            an `Embedding`, integers without the axis of features.
        y : array_like or list of array_like
            Targets, samples on axis 0, in the shape that the loss wants.
        epochs : int
            How many further epochs to train, at least 1.
        batch_size : int, default 32
            Samples per step; the last batch of an epoch may be smaller.
        validation_data : tuple or mapping, optional
            `(x, y)`, or a mapping with the keys "x", "y" and, where wanted, "lengths" and
            "sample_weight": data to evaluate after every epoch.
        validation_split : float, default 0.0
            The last part of the samples, as a fraction below 1, is used for validation instead
            of training. It is cut off before shuffling, and rounded up.
        lengths : array_like of int, optional
            Shape (samples,): valid steps of each sample, for an `x` that is one array.
        shuffle : bool, default True
            Whether samples come in a new order in every epoch.
        sample_weight : array_like, optional
            Shape (samples,), (samples, steps) or that of the unreduced loss.
        verbose : {0, 1, 2}, default 1
            Show nothing, a progress bar (needs tqdm, else as 2), or a line per epoch.
        check_finite : bool, default True
            Whether to look for values that are not finite before training starts.

        Returns
        -------
        History
            "loss" is the mean over the epoch, each step measured before its update, in training
            mode; "val_loss" is `evaluate` of the validation data; "lr" is the rate of the epoch's
            first step; then metrics, and "skipped".

        Raises
        ------
        ShapeError
            If there is no sample, numbers of samples or steps differ, or a shape doesn't fit.
        ConfigError
            If an option has a value that it can't have.
        DtypeError
            If data do not hold real numbers, or an option is no number where one is needed.
        NonFiniteError
            If data hold NaN or an infinity, naming row, step and column; or if the loss or a
            gradient is not finite, naming the tensor.
        """
        epochs = require_integer("epochs", epochs, 1)
        batch_size = require_integer("batch_size", batch_size, 1)
        if verbose not in (0, 1, 2):
            raise ConfigError(f"verbose must be 0, 1 or 2, got {verbose!r}")
        samples = self._samples(x, y, lengths, sample_weight)
        samples, validation = self._with_validation(samples, validation_data, validation_split)
        if check_finite:
            samples.check_finite()
            if validation is not None:
                validation.check_finite("validation ")
        callbacks = list(self.callbacks)
        if verbose == 1 and not any(isinstance(callback, ProgressBar) for callback in callbacks):
            callbacks.append(ProgressBar())
        elif verbose == 2:
            callbacks.append(LinePrinter())
        self.history = History(self._quantities(validation is not None))
        self._stopping = False
        with _modes_restored(self.network), contextlib.ExitStack() as ends:
            for callback in callbacks:
                callback.on_train_begin(self, epochs)
                ends.callback(callback.on_train_end, self)
            for _ in range(epochs):
                values = {"lr": float(self.optimizer.lr)}
                values |= self._train_epoch(samples, batch_size, shuffle, callbacks)
                if validation is not None:
                    measured = self._evaluate(validation, batch_size)
                    values |= {f"val_{name}": value for name, value in measured.items()}
                if self.scheduler is not None and self.schedule_every == "epoch":
                    self.scheduler.step(values.get("val_loss", values["loss"]))
                self.epoch += 1
                self.history.append(self.epoch, values)
                recorded = {name: values[name] for name in self.history}
                for callback in callbacks:
                    callback.on_epoch_end(self, self.epoch, recorded)
                if self._stopping:
                    break
        return self.history

    def stop(self) -> None:
        """Make the current epoch of `fit` the last; for callbacks."""
        self._stopping = True

    def evaluate(
        self,
        x: Any,
        y: Any,
        *,
        lengths: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        batch_size: int = 256,
    ) -> dict[str, float]:
        """Measure loss and metrics in evaluation mode.

        The result is that of the whole data set at once: it does not depend on `batch_size`
        but for rounding.

        Parameters
        ----------
        x, y, lengths, sample_weight
            As for `fit`.
        batch_size : int, default 256
            How many samples go through the model at a time.

        Returns
        -------
        dict of str to float
            "loss", and the metrics by name.

        Raises
        ------
        ShapeError
            If there is no sample, numbers of samples or steps differ, or a shape doesn't fit.
        """
        batch_size = require_integer("batch_size", batch_size, 1)
        samples = self._samples(x, y, lengths, sample_weight)
        with _modes_restored(self.network):
            return self._evaluate(samples, batch_size)

    def predict(
        self, x: Any, *, batch_size: int = 256, lengths: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Run the model in evaluation mode.

        Parameters
        ----------
        x, lengths
            As for `fit`.
        batch_size : int, default 256
            How many samples go through the model at a time.

        Returns
        -------
        ndarray
            The outputs, samples on axis 0. Steps past a sample's length, and past the longest
            of its batch, are 0 where the model has an output for every step.

        Raises
        ------
        ShapeError
            If there is no sample, or a shape doesn't fit.
        """
        batch_size = require_integer("batch_size", batch_size, 1)
        samples = self._samples(x, None, lengths, None)
        result: NDArray[Any] | None = None
        with _modes_restored(self.network):
            self.network.eval()
            for rows in _slices(len(samples), batch_size):
                batch = samples.batch(rows)
                pred, per_step = self._samples_first(
                    self.network(self._in_layout(batch.x), batch.lengths), batch
                )
                if per_step and batch.lengths is not None:
                    pred = np.where(_expanded(_valid_steps(batch), pred.ndim), pred, 0)
                if result is None:
                    shape = [len(samples), *pred.shape[1:]]
                    if per_step:
                        shape[1] = samples.sample_shape[0]
                    result = np.zeros(shape, dtype=pred.dtype)
                if per_step:
                    result[rows, : pred.shape[1]] = pred
                else:
                    result[rows] = pred
        assert result is not None  # there is at least one sample
        return result

    def train_step(
        self,
        x: Any,
        y: Any,
        *,
        lengths: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Take one step of the optimizer on one batch, in training mode.

        Parameters
        ----------
        x, y, lengths, sample_weight
            As for `fit`.

        Returns
        -------
        float
            The loss before the step.

        Raises
        ------
        ShapeError
            If there is no sample, numbers of samples or steps differ, or a shape doesn't fit.
        NonFiniteError
            If the loss or a gradient is not finite (unless `on_nonfinite` is "skip").
        """
        samples = self._samples(x, y, lengths, sample_weight)
        with _modes_restored(self.network):
            self.network.train()
            value, _ = self._step(samples.batch(slice(None)), _Tally(self.loss, {}))
        return value

    def save_checkpoint(self, path: Any) -> None:
        """Not available yet."""
        raise ConfigError("save_checkpoint: not available yet; pickle the trainer instead")

    def load_checkpoint(self, path: Any) -> None:
        """Not available yet."""
        raise ConfigError("load_checkpoint: not available yet; pickle the trainer instead")

    def _quantities(self, validated: bool) -> list[str]:
        measured = ["loss", *self.metrics]
        names = [*measured, *(f"val_{name}" for name in measured if validated), "lr"]
        return [*names, "skipped"] if self.on_nonfinite == "skip" else names

    def _samples(
        self, x: Any, y: Any, lengths: ArrayLike | None, sample_weight: ArrayLike | None
    ) -> Samples:
        """Return the data in order, checked as far as the model need not run for it."""
        first = self.network[0]
        takes_indices = isinstance(first, _core.Embedding)
        takes_features = isinstance(first, _core.Module) and not takes_indices
        samples = Samples(
            x,
            y,
            lengths,
            sample_weight,
            dtype=self.network.dtype,
            integer_inputs=not takes_features,
        )
        shape = (len(samples), *samples.sample_shape)
        if takes_indices:
            if self.network.recurrent and len(shape) != 2:
                raise ShapeError(
                    "x must have shape (samples, steps) for a recurrent model of indices, got "
                    f"{len(shape)} axes: {shape}"
                )
            return samples
        if len(shape) < 2:
            raise ShapeError(f"x must have shape (samples, features), got {shape}")
        if takes_features and self.network.recurrent and len(shape) != 3:
            raise ShapeError(
                "x must have shape (samples, steps, features) for a recurrent model, got "
                f"{len(shape)} axes: {shape}"
                + ("; x[..., numpy.newaxis] has one feature" if len(shape) == 2 else "")
            )
        return samples

    def _with_validation(
        self,
        samples: Samples,
        validation_data: tuple[Any, Any] | Mapping[str, Any] | None,
        validation_split: float,
    ) -> tuple[Samples, Samples | None]:
        """Return the samples to train on and those to validate on."""
        if not 0 <= require_real("validation_split", validation_split) < 1:
            raise ConfigError(f"validation_split must be in [0, 1), got {validation_split}")
        if validation_data is not None:
            if validation_split > 0:
                raise ConfigError("validation_data and validation_split exclude each other")
            if not isinstance(validation_data, Mapping):
                if not isinstance(validation_data, Sequence):
                    raise DtypeError(
                        "validation_data must be (x, y) or a mapping, got "
                        f"{type(validation_data).__name__}"
                    )
                if len(validation_data) != 2:
                    raise ConfigError(
                        "validation_data must be (x, y) or a mapping with the keys x, y, lengths "
                        f"and sample_weight, got {len(validation_data)} entries"
                    )
                validation_data = dict(zip(("x", "y"), validation_data, strict=True))
            required, allowed = {"x", "y"}, {"x", "y", "lengths", "sample_weight"}
            if not required <= validation_data.keys() <= allowed:
                raise ConfigError(
                    "validation_data must have the keys x and y, and may have lengths and "
                    f"sample_weight; got {sorted(validation_data)}"
                )
            return samples, self._samples(
                validation_data["x"],
                validation_data["y"],
                validation_data.get("lengths"),
                validation_data.get("sample_weight"),
            )
        if validation_split == 0:
            return samples, None
        # 10 * (1 - 0.9) is a little less than 1.
        first = math.floor(len(samples) * (1 - validation_split) + 1e-9)
        if not 0 < first < len(samples):
            raise ConfigError(
                f"validation_split={validation_split} of {len(samples)} samples leaves one part "
                "empty"
            )
        return samples.split(first)

    def _train_epoch(
        self, samples: Samples, batch_size: int, shuffle: bool, callbacks: Sequence[Callback]
    ) -> dict[str, float]:
        self.network.train()
        order = _core.shuffled(len(samples), self.seed, self.epoch) if shuffle else None
        tally = _Tally(self.loss, self.metrics)
        skipped = 0
        for index, rows in enumerate(_slices(len(samples), batch_size)):
            batch = samples.batch(rows if order is None else order[rows])
            where = f" in epoch {self.epoch + 1}, batch {index}"
            value, stepped = self._step(batch, tally, where)
            skipped += not stepped
            for callback in callbacks:
                callback.on_batch_end(self, index, value)
        return {**tally.result(), "skipped": float(skipped)}

    def _step(self, batch: Batch, tally: _Tally, where: str = "") -> tuple[float, bool]:
        """Take one step; return the loss and whether the step was taken."""
        parameters = list(self.network.parameters())
        _core.zero_grad_(parameters)
        y, cache = self.network.forward_with_cache(self._in_layout(batch.x), batch.lengths)
        pred, per_step = self._samples_first(y, batch)
        weights = _loss_weights(batch, per_step)
        value, gradient = self.loss.value_and_grad(pred, batch.y, **weights)
        value = float(value)
        problem = None if math.isfinite(value) else f"the loss is {value}"
        if problem is None:
            if per_step and self._time_major:
                gradient = gradient.swapaxes(0, 1)
            self.network.backward(gradient, cache=cache, input_grad=False)
            problem = self._clip(parameters)
        if problem is not None:
            if self.on_nonfinite == "raise":
                raise NonFiniteError(
                    f"{problem}{where}; the weights are untouched. A lower learning rate, "
                    "clip_norm or scaled data may help"
                )
            return value, False
        tally.add(value, pred, batch.y, weights)
        self.optimizer.step()
        if self.scheduler is not None and self.schedule_every == "batch":
            self.scheduler.step(value)
        return value, True

    def _clip(self, parameters: list[_core.Parameter]) -> str | None:
        """Scale the gradients if asked to; return which is not finite, if any is."""
        limit = math.inf if self.clip_norm is None else self.clip_norm
        try:
            _core.clip_grad_norm_(parameters, limit, error_if_nonfinite=True)
        except NonFiniteError:
            for name, parameter in self.model.named_parameters():
                if not np.isfinite(parameter.grad).all():
                    return f"the gradient of {name} is not finite"
            raise
        return None

    def _evaluate(self, samples: Samples, batch_size: int) -> dict[str, float]:
        self.network.eval()
        tally = _Tally(self.loss, self.metrics)
        for rows in _slices(len(samples), batch_size):
            batch = samples.batch(rows)
            y = self.network(self._in_layout(batch.x), batch.lengths)
            pred, per_step = self._samples_first(y, batch)
            weights = _loss_weights(batch, per_step)
            loss: Callable[..., Any] = self.loss
            tally.add(float(loss(pred, batch.y, **weights)), pred, batch.y, weights)
        return tally.result()

    @property
    def _time_major(self) -> bool:
        return self.network.recurrent and not self.network.batch_first

    def _in_layout(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return inputs in the model's layout, as a view."""
        return x.swapaxes(0, 1) if self._time_major else x

    def _samples_first(self, y: NDArray[Any], batch: Batch) -> tuple[NDArray[Any], bool]:
        """Return outputs with samples on axis 0, and whether there is one for every step."""
        steps = batch.x.shape[1:2]  # none where samples are single indices
        if y.ndim < 3 or (y.shape[0 if self._time_major else 1],) != steps:
            return y, False
        return y.swapaxes(0, 1) if self._time_major else y, True


class _Tally:
    """Puts the losses of batches together to that of all their samples, and the metrics."""

    def __init__(self, loss: Loss, metrics: Mapping[str, Metric]) -> None:
        self._loss = loss
        self._metrics = metrics
        self._sum = 0.0
        self._weight = 0.0
        self._batches = 0
        self._seen: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def add(
        self, value: float, pred: NDArray[Any], target: Any, weights: Mapping[str, NDArray[Any]]
    ) -> None:
        """Add the loss of one batch, and what it was computed from."""
        self._batches += 1
        if getattr(self._loss, "reduction", "mean") == "sum":
            self._sum += value
        else:
            weight = _total_weight(self._loss, pred, target, weights)
            self._weight += weight
            # A batch without any valid element has no mean.
            self._sum += value * weight if weight != 0 else 0.0
        if self._metrics:
            valid = weights.get("mask")
            self._seen.append((pred, target) if valid is None else (pred[valid], target[valid]))

    def result(self) -> dict[str, float]:
        """Return loss and metrics of all batches; NaN if there was none."""
        if self._batches == 0:
            return dict.fromkeys(("loss", *self._metrics), math.nan)
        values = {"loss": self._sum / self._weight if self._weight != 0 else self._sum}
        if self._metrics:
            pred, target = (np.concatenate(parts) for parts in zip(*self._seen, strict=True))
            for name, metric in self._metrics.items():
                values[name] = float(metric(pred, target))
        return values


def _total_weight(
    loss: Loss, pred: NDArray[Any], target: Any, weights: Mapping[str, NDArray[Any]]
) -> float:
    """Return what a mean loss was divided by, if need be up to a factor common to all batches."""
    if type(loss) in _PLAIN_MEANS and not weights:
        return float(pred.size)  # as total_weight says, but that takes as long as the loss
    total_weight: Callable[..., float] | None = getattr(loss, "total_weight", None)
    if total_weight is not None:
        return total_weight(pred, target, **weights)
    elements = np.ones(target.shape)
    for weight in weights.values():
        elements *= _expanded(weight, target.ndim)
    return float(elements.sum())


def _loss_weights(batch: Batch, per_step: bool) -> dict[str, NDArray[Any]]:
    """Return the keywords that tell a loss which elements count how much."""
    weights: dict[str, NDArray[Any]] = {}
    if per_step and batch.lengths is not None:
        weights["mask"] = _valid_steps(batch)
    if batch.sample_weight is not None:
        weights["sample_weight"] = batch.sample_weight
    return weights


def _valid_steps(batch: Batch) -> NDArray[np.bool_]:
    """Return which steps lie within their sample's length, shape (samples, steps)."""
    assert batch.lengths is not None
    valid: NDArray[np.bool_] = np.arange(batch.x.shape[1]) < batch.lengths[:, np.newaxis]
    return valid


def _expanded(array: NDArray[Any], axes: int) -> NDArray[Any]:
    """Return an array with axes of size 1 added at the end."""
    return array.reshape(array.shape + (1,) * (axes - array.ndim))


def _slices(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, start + size)


@contextlib.contextmanager
def _modes_restored(network: Sequential) -> Iterator[None]:
    """Put every layer back into the mode that it had."""
    modes = [getattr(layer, "training", True) for layer in network]
    try:
        yield
    finally:
        for layer, training in zip(network, modes, strict=True):
            if training:
                layer.train()
            else:
                layer.eval()


def _seed_from_stream() -> int:
    """Return a seed that follows from where the process-wide random stream is."""
    seed, position = _core.get_rng_state()
    return int(np.random.SeedSequence([seed, position]).generate_state(1, np.uint64)[0])


def _named_metrics(metrics: Iterable[Metric] | Mapping[str, Metric]) -> dict[str, Metric]:
    if not isinstance(metrics, Iterable):
        raise DtypeError(f"metrics must be a list or mapping of functions, got {metrics!r:.80}")
    pairs: list[tuple[str, Metric]]
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    else:
        pairs = []
        for metric in metrics:
            if not callable(metric):
                raise ConfigError(f"metrics must be functions of (pred, target), got {metric!r}")
            pairs.append((getattr(metric, "__name__", type(metric).__name__), metric))
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ConfigError("metrics must have different names: pass a mapping of names to functions")
    for name, metric in named.items():
        if not callable(metric):
            raise ConfigError(f"metrics[{name!r}] must be a function of (pred, target)")
        if name in _RESERVED or name.startswith("val_"):
            raise ConfigError(f"a metric can't be named {name!r}, which stands for something else")
    return named


def _scheduler_of(optimizer: Any, scheduler: Any) -> Scheduler | None:
    """Return the schedule that the argument `scheduler` stands for, checked."""
    if scheduler is None:
        return None
    is_function = callable(scheduler) and not hasattr(scheduler, "step")
    if is_function and not isinstance(scheduler, type):
        return LambdaLR(optimizer, scheduler)
    example = "rr.StepLR(optimizer, 10) or a function of the step"
    require_object("scheduler", scheduler, ("step", "state_dict"), example)
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ConfigError(
            "scheduler was built on another optimizer: build it on the one that is given to the "
            "trainer"
        )
    with contextlib.suppress(ValueError):  # some functions of C don't tell what they take
        try:
            inspect.signature(scheduler.step).bind(0.0)
        except TypeError as error:
            raise DtypeError(
                "scheduler.step must take one argument, the loss (it may ignore it); "
                f"got {scheduler!r:.80}"
            ) from error
    checked: Scheduler = scheduler
    return checked


def _require_shared_parameters(optimizer: Optimizer, network: Sequential) -> None:
    """Raise if an optimizer that says what it moves moves nothing of the network."""
    groups = getattr(optimizer, "param_groups", None)
    own = {id(parameter) for parameter in network.parameters()}
    if groups is None or not own:
        return
    if not any(id(parameter) in own for group in groups for parameter in group["params"]):
        raise ConfigError(
            "optimizer has none of the model's parameters, so training would change nothing: "
            "build it from model.parameters(), after the model was copied or converted"
        )
