"""Which checkpoints are kept, and what happens to the files."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import pytest

import recurrust as rr


class StandIn:
    """As much of a trainer as the callback sees; a checkpoint holds the callback's state."""

    def __init__(self, callback, names=("loss", "val_loss", "lr")):
        self.callback = callback
        self.history = rr.History(names)
        self.epoch = 0
        self.saved = []
        self.failing = False

    def save_checkpoint(self, path):
        assert Path(path).parent.is_dir()
        if self.failing:
            raise OSError("disk full")
        state = {"epoch": self.epoch, "callback": self.callback.state_dict()}
        Path(path).write_text(json.dumps(state))
        self.saved.append((self.epoch, Path(path).name))

    def feed(self, values):
        for value in values:
            self.epoch += 1
            recorded = {"loss": self.epoch / 8, "val_loss": value, "lr": 0.1}
            self.callback.on_epoch_end(self, self.epoch, recorded)

    def run(self, values):
        self.callback.on_train_begin(self, len(values))
        self.feed(values)
        self.callback.on_train_end(self)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def epoch_in(path):
    return json.loads(Path(path).read_text())["epoch"]


class TestWhichAreKept:
    def test_the_best_under_one_name(self, tmp_path):
        callback = rr.ModelCheckpoint(tmp_path / "best", "val_loss")
        stand_in = StandIn(callback)
        stand_in.run([3.0, 2.0, 2.0, 4.0, 1.0, 5.0])
        # Equal is not better.
        assert stand_in.saved == [(1, "best"), (2, "best"), (5, "best")]
        assert names(tmp_path) == ["best"]
        assert epoch_in(tmp_path / "best") == 5
        assert (callback.best, callback.paths) == (1.0, [str(tmp_path / "best")])

    def test_the_latest(self, tmp_path):
        callback = rr.ModelCheckpoint(tmp_path / "{epoch}", keep=2)
        StandIn(callback).run([1.0, 2.0, 3.0, 4.0])
        assert names(tmp_path) == ["3", "4"]
        assert callback.paths == [str(tmp_path / "4"), str(tmp_path / "3")]
        assert callback.best is None

    def test_top_k_and_names(self, tmp_path):
        pattern = tmp_path / "runs/{epoch:02d}-{val_loss:.2f}.safetensors"
        callback = rr.ModelCheckpoint(pattern, "val_loss", keep=2)
        stand_in = StandIn(callback)
        present = []
        for value in [3.0, 4.0, 2.0, 2.5, 9.0, 2.0]:
            stand_in.run([value])
            present.append([name[:-12] for name in names(tmp_path / "runs")])
        assert present == [
            ["01-3.00"],
            ["01-3.00", "02-4.00"],
            ["01-3.00", "03-2.00"],
            ["03-2.00", "04-2.50"],
            ["03-2.00", "04-2.50"],
            ["03-2.00", "06-2.00"],
        ]
        assert [Path(path).name[:2] for path in callback.paths] == ["03", "06"]

    def test_greater_may_be_better(self, tmp_path):
        callback = rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss", mode="max", keep=2)
        StandIn(callback).run([0.5, 0.75, 0.25, 0.75, 0.625])
        assert names(tmp_path) == ["2", "4"]
        assert callback.best == 0.75

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_not_finite_is_never_saved(self, tmp_path, value):
        callback = rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss", keep=3)
        stand_in = StandIn(callback)
        stand_in.run([value, 2.0, value, 1.0])
        assert names(tmp_path) == ["2", "4"]
        assert callback.best == 1.0

    def test_last(self, tmp_path):
        callback = rr.ModelCheckpoint(tmp_path / "{epoch}.safetensors", "val_loss", last=True)
        stand_in = StandIn(callback)
        stand_in.run([1.0, 2.0, 3.0])
        assert names(tmp_path) == ["1.safetensors", "last.safetensors"]
        assert epoch_in(tmp_path / "last.safetensors") == 3
        assert len(stand_in.saved) == 4

    def test_a_folder_for_each_epoch(self, tmp_path):
        StandIn(rr.ModelCheckpoint(tmp_path / "{epoch}/model")).run([1.0, 2.0])
        assert (tmp_path / "2/model").exists()
        assert not (tmp_path / "1/model").exists()

    def test_another_name_for_the_best(self, tmp_path):
        StandIn(rr.ModelCheckpoint(tmp_path / "{val_loss:.0f}", "val_loss")).run([2.1, 2.0, 0.9])
        assert names(tmp_path) == ["1"]

    def test_a_file_that_was_written_again_counts_once(self, tmp_path):
        # Epochs 10 and 11 have the same name: what was 10 is gone.
        callback = rr.ModelCheckpoint(tmp_path / "{epoch:.1g}", "val_loss", keep=2)
        stand_in = StandIn(callback)
        stand_in.run([9.0, 8.0, *[20.0] * 7, 1.0, 2.0])
        same = str(tmp_path / "1e+01")
        assert (epoch_in(same), callback.best) == (11, 2.0)
        assert callback.paths == [same]
        stand_in.run([3.0])
        assert (epoch_in(same), callback.best, callback.paths) == (12, 3.0, [same])


class TestFiles:
    def test_the_older_file_is_there_until_the_new_one_is(self, tmp_path):
        callback = rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss")
        stand_in = StandIn(callback)
        stand_in.run([2.0])
        stand_in.failing = True
        before = callback.state_dict()
        with pytest.raises(OSError, match="disk full"):
            stand_in.run([1.0])
        assert names(tmp_path) == ["1"]
        assert callback.state_dict() == before
        stand_in.failing = False
        stand_in.run([1.5])
        assert (names(tmp_path), callback.best) == (["3"], 1.5)

    def test_a_file_that_is_gone_is_no_error(self, tmp_path):
        stand_in = StandIn(rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss"))
        stand_in.run([2.0])
        (tmp_path / "1").unlink()
        stand_in.run([1.0])
        assert names(tmp_path) == ["2"]

    def test_foreign_files_are_left_alone(self, tmp_path):
        (tmp_path / "7").write_text("mine")
        StandIn(rr.ModelCheckpoint(tmp_path / "{epoch}")).run([2.0, 3.0])
        assert names(tmp_path) == ["2", "7"]


class TestSeveralRuns:
    def test_the_best_is_that_of_all_runs(self, tmp_path):
        callback = rr.ModelCheckpoint(tmp_path / "best", "val_loss")
        stand_in = StandIn(callback)
        stand_in.run([2.0, 1.0])
        stand_in.run([1.5, 3.0])
        assert (epoch_in(tmp_path / "best"), callback.best) == (2, 1.0)
        stand_in.run([0.5])
        assert (epoch_in(tmp_path / "best"), callback.best) == (5, 0.5)

    def test_another_trainer_starts_afresh(self, tmp_path):
        callback = rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss")
        StandIn(callback).run([2.0, 1.0])
        StandIn(callback).run([3.0])
        # The file of the other trainer stays.
        assert (names(tmp_path), callback.best) == (["1", "2"], 3.0)

    @pytest.mark.parametrize("given", ["before the run", "in the run"])
    def test_going_on_from_a_checkpoint_is_exact(self, tmp_path, given):
        values = [3.0, 2.0, 4.0, 1.0, 2.5, math.nan, 1.0, 0.5]
        options = {"monitor": "val_loss", "keep": 2, "last": True}
        for folder, cut in [("straight", len(values))] + [(str(cut), cut) for cut in range(1, 8)]:
            pattern = tmp_path / folder / "{epoch}-{val_loss}"
            stand_in = StandIn(rr.ModelCheckpoint(pattern, **options))
            stand_in.callback.on_train_begin(stand_in, len(values))
            stand_in.feed(values[:cut])

            saved = json.loads((tmp_path / folder / "last.safetensors").read_text())
            second = StandIn(rr.ModelCheckpoint(pattern, **options))
            second.epoch = saved["epoch"]
            if given == "before the run":
                second.callback.load_state_dict(saved["callback"])
            second.callback.on_train_begin(second, len(values) - cut)
            if given == "in the run":
                second.callback.load_state_dict(saved["callback"])
            second.feed(values[cut:])
            assert names(tmp_path / folder) == ["4-1.0", "8-0.5", "last.safetensors"]
            assert second.callback.best == 0.5

    def test_a_checkpoint_knows_itself(self, tmp_path):
        stand_in = StandIn(rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss"))
        stand_in.run([2.0, 1.0])
        state = json.loads((tmp_path / "2").read_text())["callback"]
        assert state == stand_in.callback.state_dict()
        assert state["kept"] == [[str(tmp_path / "2"), 2, 1.0]]

    def test_files_that_are_gone_are_not_kept(self, tmp_path):
        stand_in = StandIn(rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss", keep=2))
        stand_in.run([2.0, 1.0])
        (tmp_path / "2").unlink()
        resumed = rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss", keep=2)
        resumed.load_state_dict(stand_in.callback.state_dict())
        assert (resumed.best, resumed.paths) == (2.0, [str(tmp_path / "1")])

    @pytest.mark.parametrize(
        "options", [{"monitor": "loss"}, {"monitor": "val_loss", "mode": "max"}, {}]
    )
    def test_values_that_can_not_be_compared_are_forgotten(self, tmp_path, options):
        stand_in = StandIn(rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss"))
        stand_in.run([2.0])
        other = rr.ModelCheckpoint(tmp_path / "{epoch}", **options)
        other.load_state_dict(stand_in.callback.state_dict())
        assert other.paths == []

    @pytest.mark.parametrize(
        "change", [{"kept": 3}, {"kept": [["a", 1]]}, {"kept": [["a", 0, 1.0]]}, {"epoch": -1}]
    )
    def test_a_state_that_does_not_fit_changes_nothing(self, tmp_path, change):
        callback = rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss")
        StandIn(callback).run([2.0])
        before = callback.state_dict()
        with pytest.raises((rr.ConfigError, rr.DtypeError), match="state"):
            callback.load_state_dict({**before, **change})
        with pytest.raises(rr.ConfigError, match="state must be a mapping with the keys"):
            callback.load_state_dict({})
        assert callback.state_dict() == before

    def test_pickle(self, tmp_path):
        callback = rr.ModelCheckpoint(tmp_path / "{epoch}", "val_loss", keep=2)
        StandIn(callback).run([2.0, 1.0])
        assert vars(pickle.loads(pickle.dumps(callback))) == vars(callback)


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "options", "error", "text"),
        [
            (3, {}, rr.DtypeError, "path must be a path, got 3"),
            ("a", {"keep": 0}, rr.ConfigError, "keep must be at least 1, got 0"),
            ("a", {"keep": 1.5}, rr.DtypeError, "keep must be an integer"),
            ("a", {"keep": 2}, rr.ConfigError, "keep=2 needs {epoch} in path, got 'a'"),
            ("a", {"mode": "auto"}, rr.ConfigError, 'mode must be "min" or "max"'),
            ("a", {"last": 1}, rr.DtypeError, "last must be True or False, got 1"),
            ("x/last.safetensors", {"last": True}, rr.ConfigError, "last=True needs a path"),
            ("{epoch}/a", {"last": True}, rr.ConfigError, "last=True needs a path in a fixed"),
        ],
    )
    def test_impossible_options(self, path, options, error, text):
        with pytest.raises(error, match=text):
            rr.ModelCheckpoint(path, **options)

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("{accuracy}", "holds 'accuracy', which is not recorded; available are epoch, loss, "),
            ("{}", "can't be formatted"),
            ("{epoch", "can't be formatted"),
            ("{epoch.day}", "can't be formatted"),
            ("{loss:d}", "can't be formatted"),
            ("{loss[0]}", "can't be formatted"),
            ("", "is a folder"),
        ],
    )
    def test_names_are_checked_before_training(self, tmp_path, path, text):
        stand_in = StandIn(rr.ModelCheckpoint(tmp_path / path))
        with pytest.raises(rr.ConfigError, match=text):
            stand_in.run([1.0])
        assert names(tmp_path) == []

    def test_monitor_is_checked_before_training(self, tmp_path):
        stand_in = StandIn(rr.ModelCheckpoint(tmp_path / "a", "accuracy"))
        with pytest.raises(rr.ConfigError, match="monitor='accuracy' is not recorded; available"):
            stand_in.run([1.0])
