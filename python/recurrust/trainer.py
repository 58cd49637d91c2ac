"""The training loop."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recurrust._arguments import (
    require_choice,
    require_integer,
    require_object,
    require_real,
    require_seed,
)
from recurrust.callbacks import LinePrinter, ProgressBar
from recurrust.exceptions import ConfigError, ShapeError, StateError
from recurrust.history import History
from recurrust.metrics import named_metrics
from recurrust.sequential import Layer, Sequential
from recurrust.serialization import checkpoint_metadata
from recurrust.training.arguments import (
    callbacks_of,
    require_shared_parameters,
    require_split,
    require_targets,
    require_windows,
    scheduler_of,
    seed_from_stream,
    split_samples,
    validation_parts,
)
from recurrust.training.batches import Batches, GivenBatches, SampleBatches, slices
from recurrust.training.checkpoint import capture, restore
from recurrust.training.evaluation import evaluate
from recurrust.training.interrupts import Interrupts
from recurrust.training.loop import train, under_way
from recurrust.training.passes import modes_restored, predict
from recurrust.training.run import Run
from recurrust.training.samples import Samples, samples_for
from recurrust.training.state_file import read_state, write_state
from recurrust.training.step import finish_group, learn

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from recurrust.callbacks import Callback
    from recurrust.metrics import Metric
    from recurrust.training.protocols import Loss, Optimizer, Scheduler

__all__ = ["Trainer"]


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
        An optimizer of the model's parameters. Where it has others as well, e.g. those of a loss
        of your own, their gradients are set to zero before every batch, clipped together with the
        model's and checked like these.
    scheduler : LRScheduler or callable, optional
        The schedule of the learning rate, built on `optimizer`: one of recurrust, or an object of
        your own with `step(metric)` and `state_dict()`. A function of the number of steps taken
        returns the factor of the optimizer's rate, as for `LambdaLR`.
    schedule_every : {"epoch", "batch"}, default "epoch"
        What a step of the schedule is. After each epoch it gets the validation loss, or the loss
        without validation data; "batch" means after each step of the optimizer, with the loss
        that the step was for. Epochs and steps count over all calls of `fit`, and those of
        `train_step` count as well. A step that was skipped (`on_nonfinite`) doesn't, and neither
        does an epoch that was interrupted or in which all steps were skipped. Callbacks see the
        optimizer's rate after the schedule's step.
    clip_norm : float, optional
        Scale the gradients of all parameters together down to this norm.
    tbptt : int, optional
        Truncated backpropagation through time: cut the sequences of a batch into windows of this
        many steps and take a step of the optimizer after each. The states go from window to
        window, gradients don't. After a window that is skipped (`on_nonfinite`), samples whose
        states are not finite go on from zeros, the others from their states. Needs an output and
        a target for every step, and layers that go forwards in time only. Evaluation and
        prediction see whole sequences.
    accumulate_grad_batches : int, default 1
        How many batches `fit` takes together for one step of the optimizer. The gradient is that
        of one batch with all their samples, whatever number of valid elements each has. What is
        left at the end of an epoch makes a step as well. A batch that is skipped
        (`on_nonfinite`) is left out.
    callbacks : iterable of Callback
        What to call while training.
    metrics : iterable, or mapping of str to metric
        Names of metrics in `recurrust.metrics` ("accuracy", "rmse", "mae"), or functions of
        predictions and targets that return a number. They see all valid steps or samples of an
        epoch or data set at once, samples on axis 0; where lengths differ, the valid steps of all
        samples stand there. In an iterable each goes by its own name.
    on_nonfinite : {"raise", "skip"}, default "raise"
        What to do about a loss or gradient that is not finite: raise `NonFiniteError`, or skip
        the step and count it in the history as "skipped". Weights, optimizer and schedule are
        untouched either way. If weights themselves are not finite, because an earlier update was
        too large, it raises in both cases: no further step is possible. Where the data are not
        finite, `fit` raises all the same; with `check_finite=False` their batches are skipped.
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
    interrupted : bool
        Whether Ctrl-C ended the latest `fit`.

    Raises
    ------
    ConfigError
        If an option has a value that it can't have, or excludes another; if the model can't be
        trained in windows (`tbptt`); if `optimizer` has none of the model's parameters; or if
        `scheduler` was built on another optimizer.
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
        tbptt: int | None = None,
        accumulate_grad_batches: int = 1,
        callbacks: Iterable[Callback] = (),
        metrics: Iterable[str | Metric] | Mapping[str, str | Metric] = (),
        on_nonfinite: Literal["raise", "skip"] = "raise",
        seed: int | None = None,
    ) -> None:
        require_choice("schedule_every", schedule_every, ("epoch", "batch"))
        require_object("loss", loss, ("__call__", "value_and_grad"), "rr.MSELoss()")
        if getattr(loss, "reduction", None) == "none":
            raise ConfigError('loss must have reduction "mean" or "sum" to be trained on')
        if clip_norm is not None and not 0 < require_real("clip_norm", clip_norm) < math.inf:
            raise ConfigError(f"clip_norm must be positive and finite, got {clip_norm}")
        require_choice("on_nonfinite", on_nonfinite, ("raise", "skip"))
        callbacks = callbacks_of(callbacks)
        example = "rr.Adam(model.parameters())"
        require_object("optimizer", optimizer, ("lr", "step"), example)
        self.model = model
        self.network = model if isinstance(model, Sequential) else Sequential(model)
        require_shared_parameters(optimizer, self.network)
        self.loss = loss
        self.optimizer = optimizer
        self.clip_norm = clip_norm
        name = "accumulate_grad_batches"
        self.accumulate_grad_batches = require_integer(name, accumulate_grad_batches, 1)
        self.tbptt = require_windows(tbptt, self.accumulate_grad_batches, self.network)
        self.callbacks = callbacks
        self.metrics = named_metrics(metrics)
        self.on_nonfinite = on_nonfinite
        self.schedule_every = schedule_every
        self.seed = seed_from_stream() if seed is None else require_seed(seed)
        self.epoch = 0
        self.history = History(())
        self.interrupted = False
        self._stopping = False
        # Where the `fit` under way is, and where the next one shall go on.
        self._run: Run | None = None
        self._resumed: Run | None = None
        # Whether a step is under way: half of the state would be of the next.
        self._stepping = False
        # The last: a function that becomes a schedule sets the optimizer's rate.
        self.scheduler = scheduler_of(optimizer, scheduler)

    def fit(
        self,
        x: Any,
        y: Any = None,
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

        Ctrl-C ends the training: the history so far is returned, `interrupted` is True, and
        callbacks end as always, so that `EarlyStopping` brings back the best weights. A step of
        the optimizer and the schedule is finished before, and so is the beginning or the end of a
        run; a second Ctrl-C doesn't wait for that. The epoch that was interrupted doesn't count,
        and the next `fit` begins with it. A second `fit` goes on with weights, optimizer,
        schedule and the number of the epoch; the history and callbacks start afresh.

        After `load_checkpoint` of a checkpoint that was written while `fit` ran, `fit` goes on
        with that run instead: history and callbacks are those of the run, and it has the results
        that it would have had, to the last bit, given the same data, options and callbacks. An
        epoch that the checkpoint is from the middle of is finished first; it counts as one of
        `epochs`.

        Parameters
        ----------
        x : array_like, list of array_like, iterable of batches, or callable
            Inputs: shape (samples, steps, features), a list of arrays (steps_i, features), or
            (samples, features) for a model without recurrent layer. For a model that starts with
            an `Embedding`, integers without the axis of features. Without `y`: batches, each a
            pair (x, y) or a mapping with the keys "x", "y" and, where wanted, "lengths" and
            "sample_weight". A list or another iterable is gone through in every epoch, a
            function is called in every epoch and returns an iterator. Only one batch is needed
            at a time.
        y : array_like or list of array_like, optional
            Targets, samples on axis 0, in the shape that the loss wants.

            Where the model has an output for every step, steps past a sample's length don't
            count. It has if no layer has `return_sequences=False` and the outputs have the steps
            of the inputs on their second axis of three or more. A layer of your own that gives
            the steps up must have an attribute `return_sequences = False`. With layers of your
            own, targets of inputs of different lengths tell as well: a list of sequences belongs
            to the steps, one array to the samples.
        epochs : int
            How many further epochs to train, at least 1; 0 will do to end a run that was saved
            after its last epoch.
        batch_size : int, default 32
            Samples per step; the last batch of an epoch may be smaller. Of the validation data
            only where batches are given.
        validation_data : tuple or mapping, optional
            `(x, y)`, or a mapping with the keys "x", "y" and, where wanted, "lengths" and
            "sample_weight": data to evaluate after every epoch.
        validation_split : float, default 0.0
            The last part of the samples, as a fraction below 1, is used for validation instead
            of training. It is cut off before shuffling, and rounded up. Not for batches.
        lengths : array_like of int, optional
            Shape (samples,): valid steps of each sample, for an `x` that is one array.
        shuffle : bool, default True
            Whether samples come in a new order in every epoch. Batches keep the order in which
            they are given.
        sample_weight : array_like, optional
            Shape (samples,), (samples, steps) or that of the unreduced loss.
        verbose : {0, 1, 2}, default 1
            Show nothing, a progress bar (needs tqdm, else as 2), or a line per epoch. A
            `ProgressBar` among the callbacks is shown in any case, and then alone.
        check_finite : bool, default True
            Whether to look for values that are not finite before training starts; in given
            batches, before each is used.

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
            If an option has a value that it can't have; if an iterator has no batches for a
            further epoch; if a run from a checkpoint can't go on with these data.
        DtypeError
            If data do not hold real numbers, or an option or what a metric returns is no number
            where one is needed.
        NonFiniteError
            If data hold NaN or an infinity, naming row, step and column; or if the loss or a
            gradient is not finite, naming the tensor.
        StateError
            If it is called while it runs.
        """
        if self._run is not None:
            raise StateError("fit is running already")
        epochs = require_integer("epochs", epochs, 1 if self._resumed is None else 0)
        batch_size = require_integer("batch_size", batch_size, 1)
        if verbose not in (0, 1, 2):
            raise ConfigError(f"verbose must be 0, 1 or 2, got {verbose!r}")
        split = require_split(validation_split)
        validation: Samples | None = None
        if validation_data is not None:
            if split > 0:
                raise ConfigError("validation_data and validation_split exclude each other")
            parts = validation_parts(validation_data)
            validation = samples_for(self.network, **parts)
        batches: Batches
        if y is None:
            given = {"lengths": lengths is not None, "sample_weight": sample_weight is not None}
            for name, is_given in {**given, "validation_split": split > 0}.items():
                if is_given:
                    raise ConfigError(f"{name} is for arrays with targets, but there is no y")
            batches = GivenBatches(x, self.network, check_finite=check_finite)
        else:
            samples = samples_for(self.network, x, y, lengths, sample_weight)
            if split > 0:
                samples, validation = split_samples(samples, split)
            if check_finite:
                samples.check_finite()
            batches = SampleBatches(samples, batch_size, self.seed if shuffle else None)
        if check_finite and validation is not None:
            validation.check_finite("validation ")
        callbacks = list(self.callbacks)
        shown = any(isinstance(callback, LinePrinter) for callback in callbacks)
        if verbose > 0 and not shown:
            callbacks.append(ProgressBar() if verbose == 1 else LinePrinter())
        names = self._quantities(validation is not None)
        with (
            Interrupts() as interrupts,
            under_way(self, batches, names, callbacks, epochs) as run,
        ):
            run.interrupts = interrupts
            options = {"epochs": epochs, "batch_size": batch_size}
            interrupts.allow(train, self, run, batches, validation, callbacks, **options)
        if self.interrupted and verbose > 0:
            done = len(self.history.epochs)
            print(f"interrupted in epoch {self.epoch + 1}; epochs in the history: {done}")
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
        DtypeError
            If data do not hold real numbers, or `y` is missing: only `fit` takes batches.
        """
        batch_size = require_integer("batch_size", batch_size, 1)
        require_targets(y)
        samples = samples_for(self.network, x, y, lengths, sample_weight)
        with modes_restored(self.network):
            return evaluate(self.network, self.loss, self.metrics, samples, batch_size)

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
        samples = samples_for(self.network, x, None, lengths)
        result: NDArray[Any] | None = None
        with modes_restored(self.network):
            self.network.eval()
            for rows in slices(len(samples), batch_size):
                batch = samples.batch(rows)
                pred, per_step = predict(self.network, batch)
                if per_step and batch.lengths is not None:
                    valid = batch.valid_steps
                    pred = np.where(valid.reshape(valid.shape + (1,) * (pred.ndim - 2)), pred, 0)
                if result is None:
                    shape = [len(samples), *pred.shape[1:]]
                    if per_step:
                        shape[1] = samples.sample_shape[0]
                    result = np.zeros(shape, dtype=pred.dtype)
                    first_per_step = per_step
                if per_step != first_per_step or (
                    not per_step and pred.shape[1:] != result.shape[1:]
                ):
                    raise ShapeError(
                        "the outputs of batches don't go together: one has shape "
                        f"{pred.shape}, but {result.shape[1:]} was expected after the samples. "
                        "A layer of your own that gives up the steps must have "
                        "return_sequences = False, one that keeps them must keep the features' axis"
                    )
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

        With `tbptt` it is one step for each window of the batch.

        Parameters
        ----------
        x, y, lengths, sample_weight
            As for `fit`.

        Returns
        -------
        float
            The loss before the step; of windows, the mean over all steps.

        Raises
        ------
        ShapeError
            If there is no sample, numbers of samples or steps differ, or a shape doesn't fit.
        NonFiniteError
            If the loss or a gradient is not finite (unless `on_nonfinite` is "skip").
        """
        require_targets(y)
        samples = samples_for(self.network, x, y, lengths, sample_weight)
        run = Run({})
        with Interrupts() as run.interrupts, modes_restored(self.network):
            self.network.train()
            self._stepping = True
            try:
                batch = samples.batch(slice(None))
                loss = run.interrupts.allow(learn, self, batch, run, "")
                finish_group(self, run, "")
            finally:
                self._stepping = False
        return loss

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write everything that training goes on from to one file.

        These are the weights, the states of optimizer, schedule and callbacks, the process-wide
        random stream, the seed and position of the shuffling, and the history. Called by a
        callback while `fit` runs, it keeps the place within the run, also in the middle of an
        epoch: what the epoch's loss, metrics and accumulated gradients are made of so far.
        Metrics are functions of all predictions, so these and their targets are kept, too, if
        there are metrics.

        The file is in safetensors format, with a digest of its content. It appears whole or not
        at all: whatever happens meanwhile, a file that was there before stays as it was until
        the new one is complete.

        Parameters
        ----------
        path : path-like
            The file; an existing one is replaced.

        Raises
        ------
        ConfigError
            If optimizer or schedule are your own and have no `state_dict` and `load_state_dict`.
        DtypeError
            If a state of your own holds something else than numbers, texts, None, arrays of
            numbers, and lists or mappings of such.
        StateError
            If a training step is under way, e.g. in a handler of a signal: save in a callback.
        OSError
            If the file can't be written.

        See Also
        --------
        load_checkpoint : Go on from such a file.
        recurrust.load : Read the model alone, to use it.
        recurrust.save : Write a model alone.
        """
        if self._stepping:
            raise StateError(
                "save_checkpoint can't be called in the middle of a training step: call it in "
                "on_batch_end or on_epoch_end of a callback"
            )
        write_state(path, capture(self), checkpoint_metadata(self.model))

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Go on from where `save_checkpoint` was called.

        The trainer must be like the one that was saved: with a model of the same layers and
        options, the same kinds of loss, optimizer, schedule and callbacks, the same metrics,
        `schedule_every`, `tbptt` and `accumulate_grad_batches`. The options of the optimizer are
        restored; those of losses, schedules and callbacks, `clip_norm` and `on_nonfinite` are
        those of this trainer.

        If the checkpoint was written while `fit` ran, the next `fit` goes on with that run (see
        there). If you want to go on differently, with other data, for example, build a new
        trainer of the same model and optimizer.

        Parameters
        ----------
        path : path-like
            The file.

        Raises
        ------
        FileFormatError
            If the file is damaged, holds something else, or was written by a newer version than
            this release can read.
        ConfigError
            If the trainer is not like the one that was saved; all differences are listed.
        StateError
            If `fit` is running.
        OSError
            If the file can't be read. After any error, nothing has changed.

        Examples
        --------
        Train to the end, wherever the process was stopped before:

        >>> import os, tempfile, numpy as np, recurrust as rr
        >>> path = os.path.join(tempfile.mkdtemp(), "training.safetensors")
        >>> class Saving(rr.Callback):
        ...     def on_epoch_end(self, trainer, epoch, values):
        ...         trainer.save_checkpoint(path)
        >>> model = rr.Sequential(rr.LSTM(1, 4, batch_first=True), rr.Linear(4, 1))
        >>> optimizer = rr.Adam(model.parameters())
        >>> trainer = rr.Trainer(model, rr.MSELoss(), optimizer, callbacks=[Saving()])
        >>> if os.path.exists(path):
        ...     trainer.load_checkpoint(path)
        >>> x = np.ones((8, 5, 1), np.float32)
        >>> trainer.fit(x, x, epochs=3 - trainer.epoch, verbose=0).epochs
        [1, 2, 3]
        """
        if self._run is not None:
            raise StateError("load_checkpoint can't be called while fit is running")
        state = read_state(path)
        with Interrupts():
            restore(self, state, os.fspath(path))

    @property
    def _position(self) -> Run | None:
        """Where the run under way is, or the one that the next `fit` goes on with."""
        return self._run or self._resumed

    def __getstate__(self) -> dict[str, Any]:
        # A copy is not in the middle of anything.
        return {**vars(self), "_run": None, "_stepping": False}

    def _quantities(self, validated: bool) -> list[str]:
        measured = ["loss", *self.metrics]
        names = [*measured, *(f"val_{name}" for name in measured if validated), "lr"]
        return [*names, "skipped"] if self.on_nonfinite == "skip" else names
