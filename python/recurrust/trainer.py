"""The training loop."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recurrust import _core
from recurrust._arguments import (
    require_choice,
    require_integer,
    require_object,
    require_real,
    require_seed,
)
from recurrust.callbacks import LinePrinter, ProgressBar
from recurrust.exceptions import ConfigError, NonFiniteError, StateError
from recurrust.history import History
from recurrust.sequential import Layer, Sequential
from recurrust.training import passes
from recurrust.training.accumulation import Accumulation
from recurrust.training.arguments import (
    callbacks_of,
    metrics_by_name,
    require_shared_parameters,
    require_split,
    require_windows,
    scheduler_of,
    seed_from_stream,
    split_samples,
    validation_parts,
)
from recurrust.training.batches import Batches, GivenBatches, SampleBatches, slices
from recurrust.training.checkpoint import capture, differences, load_state, restore, state_of
from recurrust.training.run import Event, Run
from recurrust.training.samples import Batch, Samples, samples_for
from recurrust.training.state_file import read_state, write_state
from recurrust.training.tally import Tally

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from recurrust.callbacks import Callback
    from recurrust.training.protocols import Loss, Metric, Optimizer, Scheduler

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
        An optimizer of the model's parameters.
    scheduler : LRScheduler or callable, optional
        The schedule of the learning rate, built on `optimizer`: one of recurrust, or an object of
        your own with `step(metric)` and `state_dict()`. A function of the number of steps taken
        returns the factor of the optimizer's rate, as for `LambdaLR`.
    schedule_every : {"epoch", "batch"}, default "epoch"
        What a step of the schedule is. After each epoch it gets the validation loss, or the loss
        without validation data; "batch" means after each step of the optimizer, with the loss
        that the step was for. Epochs and steps count over all calls of `fit`, and those of
        `train_step` count as well. A step that was skipped (`on_nonfinite`) doesn't, and neither
        does an interrupted epoch. Callbacks see the optimizer's rate after the schedule's step.
    clip_norm : float, optional
        Scale the gradients of all the model's parameters together down to this norm.
    tbptt : int, optional
        Truncated backpropagation through time: cut the sequences of a batch into windows of this
        many steps and take a step of the optimizer after each. The states go from window to
        window, gradients don't. Needs an output and a target for every step, and layers that go
        forwards in time only. Evaluation and prediction see whole sequences.
    accumulate_grad_batches : int, default 1
        How many batches `fit` takes together for one step of the optimizer. The gradient is that
        of one batch with all their samples, whatever number of valid elements each has. What is
        left at the end of an epoch makes a step as well. A batch that is skipped
        (`on_nonfinite`) is left out.
    callbacks : iterable of Callback
        What to call while training.
    metrics : iterable of callables, or mapping of str to callable
        Functions of predictions and targets that return a number. They see all valid steps or
        samples of an epoch or data set at once, samples on axis 0; where lengths differ, the
        valid steps of all samples stand there. In an iterable each goes by its own name.
    on_nonfinite : {"raise", "skip"}, default "raise"
        What to do about a loss or gradient that is not finite: raise `NonFiniteError`, or skip
        the step and count it in the history as "skipped". Weights, optimizer and schedule are
        untouched either way. Where the data are not finite, `fit` raises all the same; with
        `check_finite=False` their batches are skipped.
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
        metrics: Iterable[Metric] | Mapping[str, Metric] = (),
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
        self.metrics = metrics_by_name(metrics)
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
        callbacks end as always, so that `EarlyStopping` brings back the best weights. The epoch
        that was interrupted doesn't count, and the next `fit` begins with it. A second `fit` goes
        on with weights, optimizer, schedule and the number of the epoch; the history and
        callbacks start afresh.

        After `load_checkpoint` of a checkpoint that was written while `fit` ran, `fit` goes on
        with that run instead: history and callbacks are those of the run, and it has the results
        that it would have had, to the last bit, given the same data, options and callbacks. An
        epoch that the checkpoint is from the middle of is finished first; it counts as one of
        `epochs`.

        Parameters
        ----------
        x : array_like, list of array_like, iterable of batches, or callable
            Inputs: shape (samples, steps, features), a list of arrays (steps_i, features), or
            (samples, features) for a model without recurrent layer. Without `y`: batches, each a
            pair (x, y) or a mapping with the keys "x", "y" and, where wanted, "lengths" and
            "sample_weight". A list or another iterable is gone through in every epoch, a
            function is called in every epoch and returns an iterator. Only one batch is needed
            at a time.
        y : array_like or list of array_like, optional
            Targets, samples on axis 0, in the shape that the loss wants.
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
            Show nothing, a progress bar (needs tqdm, else as 2), or a line per epoch.
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
            If data do not hold real numbers, or an option is no number where one is needed.
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
        if verbose == 1 and not any(isinstance(callback, ProgressBar) for callback in callbacks):
            callbacks.append(ProgressBar())
        elif verbose == 2:
            callbacks.append(LinePrinter())
        with self._run_of(batches, self._quantities(validation is not None), callbacks, epochs):
            self._train(batches, validation, epochs, batch_size, callbacks)
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
        """
        batch_size = require_integer("batch_size", batch_size, 1)
        samples = samples_for(self.network, x, y, lengths, sample_weight)
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
        samples = samples_for(self.network, x, None, lengths)
        result: NDArray[Any] | None = None
        with _modes_restored(self.network):
            self.network.eval()
            for rows in slices(len(samples), batch_size):
                batch = samples.batch(rows)
                pred, per_step = passes.predict(self.network, batch)
                if per_step and batch.lengths is not None:
                    valid = batch.valid_steps
                    pred = np.where(valid.reshape(valid.shape + (1,) * (pred.ndim - 2)), pred, 0)
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
        samples = samples_for(self.network, x, y, lengths, sample_weight)
        run = Run({})
        with _modes_restored(self.network):
            self.network.train()
            self._stepping = True
            try:
                loss = self._learn(samples.batch(slice(None)), run, "")
                self._finish_group(run, "")
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
        recurrust.save : Write a model alone, in a form that describes its layers.
        """
        if self._stepping:
            raise StateError(
                "save_checkpoint can't be called in the middle of a training step: call it in "
                "on_batch_end or on_epoch_end of a callback"
            )
        write_state(path, capture(self))

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
        restore(self, read_state(path), os.fspath(path))

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

    @contextlib.contextmanager
    def _run_of(
        self, batches: Batches, names: list[str], callbacks: Sequence[Callback], epochs: int
    ) -> Iterator[None]:
        """Begin a run of `fit`, or go on with that of a checkpoint, and end it."""
        resumed = self._resumed
        if resumed is None:
            self.history = History(names)
            self._stopping = False
        else:
            self._require_same_run(resumed, batches, names)
        # Callbacks forget their states when a run begins.
        kept = [(one, state_of(one)) for one in self.callbacks if resumed is not None]
        self.interrupted = False
        try:
            with _modes_restored(self.network), contextlib.ExitStack() as ends:
                for callback in callbacks:
                    callback.on_train_begin(self, epochs)
                    ends.callback(callback.on_train_end, self)
                for callback, state in kept:
                    load_state(callback, state)
                self._run, self._resumed = resumed or Run(dict(batches.description)), None
                try:
                    yield
                except KeyboardInterrupt:
                    self.interrupted = True
                finally:
                    self._run, self._stepping = None, False
        except BaseException:
            if self._resumed is not None:  # it didn't come to that
                for callback, state in kept:
                    load_state(callback, state)
            raise

    def _require_same_run(self, run: Run, batches: Batches, names: list[str]) -> None:
        """Raise unless a run from a checkpoint can go on with some batches."""
        expected = {"history": list(self.history)}
        got: dict[str, Any] = {"history": names}
        if run.batch > 0:
            expected, got = expected | run.data, got | dict(batches.description)
        found = differences(expected, got)
        if found:
            listed = "\n  ".join(found)
            raise ConfigError(
                f"the run from the checkpoint can't go on with these data:\n  {listed}\n"
                "Give it the same, or build a new trainer of the same model and optimizer"
            )

    def _train(
        self,
        batches: Batches,
        validation: Samples | None,
        epochs: int,
        batch_size: int,
        callbacks: Sequence[Callback],
    ) -> None:
        """Train for some epochs, from where the run is."""
        run = self._run
        assert run is not None
        resumed_between_epochs = run.batch == 0 and len(self.history.epochs) > 0
        if run.event is not None:
            event = run.event
            own = callbacks[: len(self.callbacks)]  # whoever shows the progress was not there
            self._tell(run, own, event.hook, *event.arguments, heard=event.heard)
        if resumed_between_epochs and self._stopping:
            return
        for _ in range(epochs):
            values = self._train_epoch(run, batches, callbacks)
            if validation is not None:
                measured = self._evaluate(validation, batch_size)
                values |= {f"val_{name}": value for name, value in measured.items()}
            self._stepping = True
            if self.scheduler is not None and self.schedule_every == "epoch":
                self.scheduler.step(values.get("val_loss", values["loss"]))
            self.epoch += 1
            run.batch = 0
            self.history.append(self.epoch, values)
            self._stepping = False
            recorded = {name: values[name] for name in self.history}
            self._tell(run, callbacks, "on_epoch_end", self.epoch, recorded)
            if self._stopping:
                return

    def _train_epoch(
        self, run: Run, batches: Batches, callbacks: Sequence[Callback]
    ) -> dict[str, float]:
        """Train for what is left of an epoch; return what the history records of its training."""
        if run.batch == 0:
            run.begin_epoch(float(self.optimizer.lr))
        self.network.train()
        where = f" in epoch {self.epoch + 1}, batch "
        for batch in batches.epoch(self.epoch, run.batch):
            self._stepping = True
            loss = self._learn(batch, run, f"{where}{run.batch}")
            run.batch += 1
            if run.batch % self.accumulate_grad_batches == 0:
                self._finish_group(run, f"{where}{run.batch - 1}")
            self._stepping = False
            self._tell(run, callbacks, "on_batch_end", run.batch - 1, loss)
        self._stepping = True
        self._finish_group(run, f"{where}{run.batch - 1}")
        self._stepping = False
        return {
            "lr": run.lr,
            **run.tally.result(self.metrics),
            "skipped": float(run.skipped),
        }

    def _tell(
        self,
        run: Run,
        callbacks: Sequence[Callback],
        hook: str,
        *arguments: Any,
        heard: int = 0,
    ) -> None:
        """Call a hook of all callbacks but the first ones, which have heard of it already.

        A checkpoint that one of them writes notes who has not, so that they will.
        """
        for index, callback in enumerate(callbacks[heard:], heard):
            run.event = Event(hook, list(arguments), index + 1)
            getattr(callback, hook)(self, *arguments)
        run.event = None

    def _learn(self, batch: Batch, run: Run, where: str) -> float:
        """Train on one batch and return its loss."""
        if self.tbptt is None:
            measured, taken, _ = self._step(batch, run, where)
            if taken and self.metrics:
                run.tally.keep([measured])
            return measured.value
        tally = Tally()
        windows: list[passes.Measured] = []
        state: Sequence[Any] | None = None
        for index, window in enumerate(batch.windows(self.tbptt)):
            measured, taken, state = self._step(window, run, f"{where}, window {index}", state)
            if taken:
                tally.add(measured, self.loss)
                windows.append(measured)
        if self.metrics:
            run.tally.keep(windows)
        return tally.loss

    def _step(
        self, batch: Batch, run: Run, where: str, state: Sequence[Any] | None = None
    ) -> tuple[passes.Measured, bool, Sequence[Any]]:
        """Take one step, or let the batch have its part in one, unless it must be skipped.

        Returns the loss, whether it counts, and the network's states at the end.
        """
        parameters = list(self.network.parameters())
        _core.zero_grad_(parameters)
        measured, state = passes.backward(self.network, self.loss, batch, state)
        if self.tbptt is not None and not measured.per_step:
            raise ConfigError(
                "tbptt needs a model with an output for every step, but the outputs have shape "
                f"{measured.pred.shape} for inputs of shape {batch.x.shape}"
            )
        accumulating = self.accumulate_grad_batches > 1
        problem = None
        if not math.isfinite(measured.value):
            problem = f"the loss is {measured.value}"
        else:
            problem = self._clip(parameters, None if accumulating else self.clip_norm)
        if problem is not None:
            self._skip(run, problem, where)
            return measured, False, state
        run.tally.add(measured, self.loss)
        if accumulating:
            run.accumulation.add(parameters, measured, self.loss)
        else:
            self._update(measured.value)
        return measured, True, state

    def _finish_group(self, run: Run, where: str) -> None:
        """Take the step of the batches that were accumulated, if there are any."""
        group, run.accumulation = run.accumulation, Accumulation()
        if group.batches == 0:
            return
        parameters = list(self.network.parameters())
        loss = group.apply(parameters)
        problem = self._clip(parameters, self.clip_norm)
        if problem is None:
            self._update(loss)
        else:
            self._skip(run, problem, where)

    def _update(self, loss: float) -> None:
        """Move the weights along their gradients."""
        self.optimizer.step()
        if self.scheduler is not None and self.schedule_every == "batch":
            self.scheduler.step(loss)

    def _skip(self, run: Run, problem: str, where: str) -> None:
        """Count a step that can't be taken, or raise."""
        if self.on_nonfinite == "raise":
            raise NonFiniteError(
                f"{problem}{where}; the weights are untouched. A lower learning rate, clip_norm "
                "or scaled data may help"
            )
        run.skipped += 1

    def _clip(self, parameters: list[_core.Parameter], limit: float | None) -> str | None:
        """Scale the gradients down to a norm; return which is not finite, if any is."""
        greatest = math.inf if limit is None else limit
        try:
            _core.clip_grad_norm_(parameters, greatest, error_if_nonfinite=True)
        except NonFiniteError:
            for name, parameter in self.model.named_parameters():
                if not np.isfinite(parameter.grad).all():
                    return f"the gradient of {name} is not finite"
            raise
        return None

    def _evaluate(self, samples: Samples, batch_size: int) -> dict[str, float]:
        self.network.eval()
        tally = Tally()
        for rows in slices(len(samples), batch_size):
            measured = passes.measure(self.network, self.loss, samples.batch(rows))
            tally.add(measured, self.loss)
            if self.metrics:
                tally.keep([measured])
        return tally.result(self.metrics)


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
