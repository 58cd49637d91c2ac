"""What all callbacks have in common, and callbacks made of functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from recurrust.exceptions import ConfigError, DtypeError

if TYPE_CHECKING:
    from recurrust.trainer import Trainer

__all__ = ["Callback", "LambdaCallback", "PerRunCallback", "require_recorded", "require_state"]


class Callback:
    """Base of what `Trainer.fit` calls while it trains; override what you need.

    `on_train_begin` is called in every `fit`, so a callback that resets itself there can be used
    again. `on_train_end` is called for every callback that has begun, however the training ends:
    also after an error or Ctrl-C.

    What a callback remembers from epoch to epoch becomes part of a checkpoint if it also
    overrides `state_dict` and `load_state_dict`.
    """

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Get ready for a run.

        Parameters
        ----------
        trainer : Trainer
            Who trains; `trainer.history` knows the names of all quantities from here on.
        epochs : int
            How many further epochs are planned.
        """

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        """React to a training step.

        Parameters
        ----------
        trainer : Trainer
            Who trains.
        batch : int
            The number of the batch within its epoch, from 0.
        loss : float
            Its loss before the step.
        """

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """React to an epoch; `trainer.stop()` makes it the last.

        Parameters
        ----------
        trainer : Trainer
            Who trains.
        epoch : int
            The number of the epoch, counted from 1 over all calls of `fit`.
        values : mapping of str to float
            What the history records of the epoch.
        """

    def on_train_end(self, trainer: Trainer) -> None:
        """Finish a run.

        Parameters
        ----------
        trainer : Trainer
            Who trained.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the callback needs to go on from a checkpoint.

        Returns
        -------
        dict
            Numbers, strings, None and arrays, in lists or mappings; empty by default.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; nothing by default.

        A run that was going on when the state was taken goes on with it in the next `fit`, or in
        the present one.

        Parameters
        ----------
        state : mapping
            From `state_dict` of a callback of the same class.

        Raises
        ------
        ConfigError, DtypeError
            If it doesn't fit; nothing has changed then.
        """


class PerRunCallback(Callback):
    """Base of callbacks whose state belongs to one run of `fit`; not for users.

    Every run starts afresh, unless the callback was given the state of one that had not ended.
    A trainer may hand it over before `on_train_begin` or after.
    """

    def __init__(self) -> None:
        self._running = False
        self._goes_on = False

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Forget the previous run, unless it is the one that goes on."""
        if not self._goes_on:
            self._reset()
        self._running = True

    def on_train_end(self, trainer: Trainer) -> None:
        """Note that the run is over."""
        self._running = self._goes_on = False

    def state_dict(self) -> dict[str, Any]:
        """Return what the callback needs to go on from a checkpoint."""
        return {"running": self._running or self._goes_on}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; see `Callback`."""
        require_state(state, self.state_dict())
        self._load(state)
        self._goes_on = bool(state["running"])

    def _reset(self) -> None:
        """Forget what belongs to a run."""
        raise NotImplementedError

    def _load(self, state: Mapping[str, Any]) -> None:
        """Take over a state that has the right keys, or raise and change nothing."""
        raise NotImplementedError


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_train_begin, on_batch_end, on_epoch_end, on_train_end : callable, optional
        What to call with the arguments of the method of `Callback` that has this name.

    Raises
    ------
    DtypeError
        If one of them can't be called.

    Examples
    --------
    >>> import recurrust as rr
    >>> shown = rr.LambdaCallback(
    ...     on_epoch_end=lambda trainer, epoch, values: print(epoch, values["loss"])
    ... )
    """

    def __init__(
        self,
        *,
        on_train_begin: Callable[[Trainer, int], object] | None = None,
        on_batch_end: Callable[[Trainer, int, float], object] | None = None,
        on_epoch_end: Callable[[Trainer, int, Mapping[str, float]], object] | None = None,
        on_train_end: Callable[[Trainer], object] | None = None,
    ) -> None:
        self._functions: dict[str, Callable[..., object]] = {}
        for name, function in (
            ("on_train_begin", on_train_begin),
            ("on_batch_end", on_batch_end),
            ("on_epoch_end", on_epoch_end),
            ("on_train_end", on_train_end),
        ):
            if function is None:
                continue
            if not callable(function):
                raise DtypeError(f"{name} must be a function, got {function!r:.80}")
            self._functions[name] = function

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Call the function of this name."""
        self._call("on_train_begin", trainer, epochs)

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        """Call the function of this name."""
        self._call("on_batch_end", trainer, batch, loss)

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Call the function of this name."""
        self._call("on_epoch_end", trainer, epoch, values)

    def on_train_end(self, trainer: Trainer) -> None:
        """Call the function of this name."""
        self._call("on_train_end", trainer)

    def _call(self, name: str, *arguments: object) -> None:
        if name in self._functions:
            self._functions[name](*arguments)


def require_recorded(trainer: Trainer, monitor: str) -> None:
    """Raise unless the history will have a quantity.

    Raises
    ------
    ConfigError
        If it won't; the message names those that it will have.
    """
    if monitor not in trainer.history:
        raise ConfigError(
            f"monitor={monitor!r} is not recorded; available are {', '.join(trainer.history)}"
        )


def require_state(state: object, keys: Collection[str]) -> None:
    """Raise unless a state is a mapping with these keys.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if not isinstance(state, Mapping) or set(state) != set(keys):
        got = sorted(map(str, state)) if isinstance(state, Mapping) else f"{state!r:.80}"
        raise ConfigError(f"state must be a mapping with the keys {sorted(keys)}, got {got}")
