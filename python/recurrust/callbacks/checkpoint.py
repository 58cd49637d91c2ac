"""Keeping checkpoints of a training run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from recurrust._arguments import require_boolean, require_choice, require_integer, require_real
from recurrust.callbacks.base import Callback, require_recorded, require_state
from recurrust.exceptions import ConfigError, DtypeError

if TYPE_CHECKING:
    from recurrust.trainer import Trainer

__all__ = ["ModelCheckpoint"]

_LAST = "last.safetensors"


class _Saved(NamedTuple):
    """A file that was written: of which epoch, and how good that was."""

    path: str
    epoch: int
    value: float | None


class ModelCheckpoint(Callback):
    """Save the trainer after the best epochs, or after the latest.

    Files are those of `Trainer.save_checkpoint`: `Trainer.load_checkpoint` goes on with the
    training, and `recurrust.load` returns the model, ready to be used. Each appears whole or not
    at all, and one that is no longer among those to keep is removed only after its successor is
    complete. Missing folders are made. Files of earlier programs are left alone, but replaced if
    their name comes up again.

    What is best is judged over all calls of `fit` of one trainer. A callback that goes on from a
    checkpoint goes on with those of its files that are still there, if its `path`, `monitor` and
    `mode` are the same.

    Parameters
    ----------
    path : path-like
        Name of the files. It may hold `{epoch}` and the names of quantities in the history, with
        formats: "runs/{epoch:03d}-{val_loss:.3f}.safetensors".
    monitor : str, optional
        Name of the quantity in the history that tells how good an epoch is. Without it the
        latest epochs are kept.
    mode : {"min", "max"}, default "min"
        Whether smaller or greater values are better. Of equal values the earlier is better; one
        that is not finite is never saved.
    keep : int, default 1
        How many files to keep, at least 1; for more than one, `path` must hold `{epoch}`.
    last : bool, default False
        Whether every epoch is also saved as "last.safetensors" in the same folder.

    Attributes
    ----------
    paths : list of str
        The files that are kept, best first; without `monitor`, latest first.
    best : float or None
        The value of the best epoch saved.

    Raises
    ------
    ConfigError
        If `keep` is less than 1, `mode` is unknown, or `keep` or `last` don't go with `path`; in
        `fit`, if `path` or `monitor` names something that is not recorded, or `path` is a folder.
    DtypeError
        If `path` is no path, `keep` no integer or `last` no truth value.

    Examples
    --------
    >>> import recurrust as rr
    >>> best = rr.ModelCheckpoint("runs/best.safetensors", "val_loss")  # later: rr.load(path)
    >>> three_and_last = rr.ModelCheckpoint(
    ...     "runs/{epoch}-{accuracy:.3f}.safetensors", "accuracy", mode="max", keep=3, last=True
    ... )
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str | None = None,
        *,
        mode: Literal["min", "max"] = "min",
        keep: int = 1,
        last: bool = False,
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise DtypeError(f"path must be a path, got {path!r:.80}")
        self.path = os.fspath(path)
        self.monitor = monitor
        self.mode = require_choice("mode", mode, ("min", "max"))
        self.keep = require_integer("keep", keep, 1)
        self.last = require_boolean("last", last)
        if self.keep > 1 and "{epoch" not in self.path:
            raise ConfigError(f"keep={keep} needs {{epoch}} in path, got {self.path!r}")
        folder, name = os.path.split(self.path)
        if self.last and (name == _LAST or "{" in folder):
            raise ConfigError(
                f"last=True needs a path in a fixed folder that is not {_LAST!r} itself, "
                f"got {self.path!r}"
            )
        self._kept: list[_Saved] = []
        self._epoch = 0

    @property
    def paths(self) -> list[str]:
        """The files that are kept, best first; without `monitor`, latest first."""
        return [saved.path for saved in self._kept]

    @property
    def best(self) -> float | None:
        """The value of the best epoch saved."""
        return self._kept[0].value if self._kept else None

    def on_train_begin(self, trainer: Trainer, epochs: int) -> None:
        """Check the names, and forget the files of another trainer."""
        if self.monitor is not None:
            require_recorded(trainer, self.monitor)
        example = self._path_of(1, dict.fromkeys(trainer.history, 1.0))
        if os.path.isdir(example):
            raise ConfigError(f"path must be the name of a file, but {example!r} is a folder")
        if trainer.epoch < self._epoch:
            self._kept, self._epoch = [], 0

    def on_epoch_end(self, trainer: Trainer, epoch: int, values: Mapping[str, float]) -> None:
        """Save the epoch if it is one to keep, then remove the file that it ousts."""
        before = self._kept, self._epoch
        value = None if self.monitor is None else float(values[self.monitor])
        saved = _Saved(self._path_of(epoch, values), epoch, value)
        # A checkpoint holds this callback as it will be when the file is there.
        self._epoch = epoch
        self._kept = self._kept_with(saved)
        try:
            if saved in self._kept:
                _save(trainer, saved.path)
        except BaseException:
            self._kept, self._epoch = before
            raise
        for path in {old.path for old in before[0]}.difference(self.paths):
            Path(path).unlink(missing_ok=True)
        if self.last:
            _save(trainer, os.path.join(os.path.dirname(self.path), _LAST))

    def state_dict(self) -> dict[str, Any]:
        """Return which files are kept, and how good they are."""
        return {
            "path": self.path,
            "monitor": self.monitor,
            "mode": self.mode,
            "epoch": self._epoch,
            "kept": [list(saved) for saved in self._kept],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; see `Callback`."""
        own = self.state_dict()
        require_state(state, own)
        epoch = require_integer("state['epoch']", state["epoch"], 0)
        try:
            kept = [
                _Saved(
                    os.fspath(path),
                    require_integer("epoch", number, 1),
                    None if value is None else require_real("value", value),
                )
                for path, number, value in state["kept"]
            ]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"state['kept'] does not tell of files: {error}") from error
        comparable = all(state[name] == own[name] for name in ("path", "monitor", "mode"))
        # What was removed since, or stayed behind on another machine, is not kept.
        there = [saved for saved in kept if comparable and os.path.exists(saved.path)]
        self._epoch, self._kept = epoch, there

    def _path_of(self, epoch: int, values: Mapping[str, float]) -> str:
        try:
            return self.path.format_map({**values, "epoch": epoch})
        except KeyError as error:
            raise ConfigError(
                f"path={self.path!r} holds {error}, which is not recorded; available are epoch, "
                f"{', '.join(values)}"
            ) from None
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ConfigError(f"path={self.path!r} can't be formatted: {error}") from error

    def _kept_with(self, saved: _Saved) -> list[_Saved]:
        """Return the files to keep, best first, when this one comes along."""
        if saved.value is not None and not math.isfinite(saved.value):
            return self._kept
        kept = sorted([*self._kept, saved], key=self._rank)[: self.keep]
        if saved not in kept:
            return self._kept
        return [one for one in kept if one is saved or one.path != saved.path]

    def _rank(self, saved: _Saved) -> float:
        if saved.value is None:
            return -saved.epoch
        return saved.value if self.mode == "min" else -saved.value


def _save(trainer: Trainer, path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(path)
