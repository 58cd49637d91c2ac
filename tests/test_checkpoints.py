"""Files of checkpoints: what they keep, and what is refused."""

from __future__ import annotations

import copy
import json
import math
import pickle
import struct
from fractions import Fraction

import numpy as np
import pytest

import recurrust as rr
from recurrust import _core
from recurrust.training.checkpoint import capture
from recurrust.training.state_file import read_state, write_state


class Remembering(rr.Callback):
    """A callback with any state, which a new run resets."""

    def __init__(self, state=None):
        self.state = state

    def on_train_begin(self, trainer, epochs):
        self.state = {"epochs": epochs}

    def state_dict(self):
        return {"state": self.state}

    def load_state_dict(self, state):
        self.state = state["state"]


class Saving(rr.Callback):
    """Calls `save_checkpoint` in one hook."""

    def __init__(self, path, hook="on_batch_end"):
        setattr(self, hook, lambda trainer, *arguments: trainer.save_checkpoint(path))


def arrays(samples=7, steps=5):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(samples, steps, 2))
    return x, x.sum(axis=2, keepdims=True)


def build(hidden=4, *, layers=(), optimizer=rr.Adam, scheduler=None, **options):
    options = {"seed": 0, **options}
    model = rr.Sequential(
        *layers,
        rr.LSTM(2, hidden, batch_first=True, dtype="float64", seed=1),
        rr.Linear(hidden, 1, dtype="float64", seed=2),
    )
    optimizer = optimizer(model.parameters(), lr=0.1)
    scheduler = None if scheduler is None else scheduler(optimizer)
    return rr.Trainer(model, rr.MSELoss(), optimizer, scheduler, **options)


def assert_same(got, expected):
    """Compare nested states bit by bit."""
    assert type(got) is type(expected)
    if isinstance(got, dict):
        assert list(got) == list(expected)
        for name, value in expected.items():
            assert_same(got[name], value)
    elif isinstance(got, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif isinstance(got, np.ndarray):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert got.tobytes() == expected.tobytes()
    elif isinstance(got, float):
        assert np.float64(got).tobytes() == np.float64(expected).tobytes()
    else:
        assert got == expected


class TestStateFiles:
    def test_any_state_comes_back_to_the_last_bit(self, tmp_path):
        generator = np.random.default_rng(1)
        state = {
            "nothing": None,
            "truth": [True, False],
            "integers": [0, -1, 2**64 - 1, 10**30],
            "floats": [0.1, -0.0, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 1 / 3],
            "nan": math.nan,
            "text": 'quotes " and \\, line\n, \u00e4\u4e2d\U0001f600, ~array',
            "": {"": []},
            "empty": [{}, [], ""],
            "by number": {0: "a", 7: {"b": 1}, -1: None},
            "~array": {"~items": "reserved", "plain": 1},
            "a.b": np.arange(3.0),
            "a": {"b": np.arange(4.0)},
            "arrays": [
                *(
                    np.array([[0, 1, 2], [3, 4, 100]], dtype)
                    for dtype in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
                ),
                *(generator.normal(size=(2, 3)).astype(kind) for kind in ("f2", "f4", "f8", "c16")),
                generator.normal(size=4).astype(">f8"),
                np.array(2.5),
                np.array(7, np.int32),
                np.zeros((0, 3), np.float32),
                np.zeros((2, 0), np.int16),
                np.array([math.nan, -0.0, math.inf]),
            ],
        }
        write_state(tmp_path / "state", state)
        assert_same(read_state(tmp_path / "state"), state)

    def test_views_and_numpy_numbers(self, tmp_path):
        grid = np.arange(12.0).reshape(3, 4)
        state = {
            "views": (grid.T, grid[::-1, 1:3], np.broadcast_to(grid[0], (2, 4))),
            "numbers": [np.float64(0.1), np.float32(0.1), np.int16(3), np.bool_(True)],
        }
        write_state(tmp_path / "state", state)
        got = read_state(tmp_path / "state")
        assert_same(got["views"], [np.array(view) for view in state["views"]])
        assert got["numbers"] == [0.1, float(np.float32(0.1)), 3, True]
        got["views"][0][0, 0] = 1.0  # own memory

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (object(), r"callbacks\.1\.a must be a number, .*got <object"),
            ({3, 4}, r"callbacks\.1\.a must be"),
            (b"bytes", r"callbacks\.1\.a must be"),
            (Fraction(1, 3), r"callbacks\.1\.a must be"),
            (np.array(["text"]), r"callbacks\.1\.a must be"),
            (np.array([None]), r"callbacks\.1\.a must be"),
            ({(1, 2): 3}, r"callbacks\.1\.a: keys must be texts or integers, got \(1, 2\)"),
            ([0, {"b": print}], r"callbacks\.1\.a\.1\.b must be"),
        ],
    )
    def test_what_no_file_holds_is_named(self, tmp_path, value, text):
        path = tmp_path / "state"
        write_state(path, {"kept": 1})
        with pytest.raises(rr.DtypeError, match=text):
            write_state(path, {"callbacks": [0, {"a": value}]})
        assert read_state(path) == {"kept": 1}
        assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


class TestContent:
    def test_everything_comes_back(self, tmp_path):
        x, y = arrays()

        def build_with_all(seed):
            return build(
                layers=[rr.Dropout(0.2)],
                scheduler=lambda optimizer: rr.StepLR(optimizer, 2, 0.5),
                callbacks=[Remembering(), rr.ProgressBar()],
                seed=seed,
            )

        rr.manual_seed(5)
        trainer = build_with_all(0)
        trainer.fit(x, y, epochs=3, batch_size=3, verbose=0)
        trainer.optimizer.lr = 0.0123  # by hand: until the schedule's next step
        trainer.callbacks[0].state = {"any": [1.5, None]}
        trainer.save_checkpoint(tmp_path / "checkpoint")
        expected = capture(trainer)
        stream = rr.get_rng_state()

        rr.manual_seed(6)
        other = build_with_all(9)
        other.train_step(x, y)
        other.load_checkpoint(str(tmp_path / "checkpoint"))
        assert rr.get_rng_state() == stream
        assert_same(capture(other), expected)
        assert (other.epoch, other.seed, other.optimizer.lr) == (3, 0, 0.0123)
        assert other.scheduler.step_count == 3
        assert other.callbacks[0].state == {"any": [1.5, None]}
        assert dict(other.history) == dict(trainer.history)
        assert other.history.epochs == [1, 2, 3]
        assert not other.interrupted

    def test_equal_states_are_equal_files(self, tmp_path):
        x, y = arrays()
        files = []
        for name in ("a", "b"):
            rr.manual_seed(1)
            trainer = build(callbacks=[Saving(tmp_path / name)])
            trainer.fit(x, y, epochs=1, batch_size=3, verbose=0)
            files.append((tmp_path / name).read_bytes())
        assert files[0] == files[1]

    def test_tensors_have_names_that_others_can_read(self, tmp_path):
        trainer = build()
        trainer.train_step(*arrays())
        trainer.save_checkpoint(tmp_path / "checkpoint")
        content = (tmp_path / "checkpoint").read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        memory = trainer.optimizer.state_dict()["state"][0]
        for name, expected in (
            ("model.0.weight_ih_l0", trainer.model[0].weight_ih_l0),
            ("optimizer.state.0.exp_avg", memory["exp_avg"]),
        ):
            entry = header[name]
            assert (entry["dtype"], entry["shape"]) == ("F64", list(expected.shape))
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            assert content[start:end] == expected.tobytes()

    @pytest.mark.parametrize("kind", [rr.SGD, rr.RMSprop, rr.NAdam, rr.RAdam, rr.Adadelta])
    def test_optimizers_go_on(self, tmp_path, kind):
        x, y = arrays()
        trainer = build(optimizer=kind)
        trainer.train_step(x, y)
        trainer.save_checkpoint(tmp_path / "checkpoint")
        other = build(optimizer=kind)
        other.load_checkpoint(tmp_path / "checkpoint")
        assert [other.train_step(x, y) for _ in range(2)] == [
            trainer.train_step(x, y) for _ in range(2)
        ]

    def test_metrics_of_the_middle_of_an_epoch_need_its_predictions(self, tmp_path):
        x, y = arrays(9)
        targets = y.astype(np.float16)  # a type that files don't have
        options = {"metrics": {"median": lambda pred, target: np.median(np.abs(pred - target))}}
        whole = build(callbacks=[rr.Callback()], **options)
        whole.callbacks[0].on_batch_end = lambda trainer, batch, loss: trainer.save_checkpoint(
            tmp_path / str(batch)
        )
        expected = whole.fit(x, targets, epochs=1, batch_size=2, verbose=0)
        sizes = [(tmp_path / str(batch)).stat().st_size for batch in range(5)]
        assert sizes == sorted(sizes)
        for batch in range(5):
            resumed = build(callbacks=[rr.Callback()], **options)
            resumed.load_checkpoint(tmp_path / str(batch))
            history = resumed.fit(x, targets, epochs=1, batch_size=2, verbose=0)
            assert dict(history) == dict(expected)

    def test_without_metrics_the_size_does_not_depend_on_the_data(self, tmp_path):
        sizes = []
        for samples in (4, 400):
            trainer = build(callbacks=[Saving(tmp_path / "checkpoint")])
            trainer.fit(*arrays(samples), epochs=1, batch_size=2, verbose=0)
            sizes.append((tmp_path / "checkpoint").stat().st_size)
        assert sizes[1] - sizes[0] < 100

    def test_what_has_no_state_can_not_be_saved(self, tmp_path):
        class Signs:
            lr = 0.5

            def step(self):
                pass

        model = rr.Sequential(rr.Linear(2, 1))
        trainer = rr.Trainer(model, rr.MSELoss(), Signs())
        with pytest.raises(
            rr.ConfigError, match=r"optimizer \(Signs\) has no state_dict and no load_state_dict"
        ):
            trainer.save_checkpoint(tmp_path / "checkpoint")

        class Halving:
            def step(self, metric):
                pass

            def state_dict(self):
                return {}

        trainer = rr.Trainer(model, rr.MSELoss(), rr.SGD(model.parameters()), Halving())
        with pytest.raises(rr.ConfigError, match=r"scheduler \(Halving\) has no load_state_dict,"):
            trainer.save_checkpoint(tmp_path / "checkpoint")
        assert not list(tmp_path.iterdir())

    def test_callbacks_need_no_state(self, tmp_path):
        class Minimal:
            def on_train_begin(self, trainer, epochs):
                pass

            on_batch_end = on_epoch_end = on_train_begin

            def on_train_end(self, trainer):
                pass

        trainer = build(callbacks=[Minimal()])
        trainer.save_checkpoint(tmp_path / "checkpoint")
        other = build(callbacks=[Minimal()])
        other.load_checkpoint(tmp_path / "checkpoint")
        assert other.epoch == 0

    def test_a_model_of_one_layer(self, tmp_path):
        x, _ = arrays()
        trainers = []
        for seed in (1, 2):
            layer = rr.GRU(2, 2, batch_first=True, dtype="float64", seed=seed)
            optimizer = rr.SGD(layer.parameters(), lr=0.1, momentum=0.9)
            trainers.append(rr.Trainer(layer, rr.MAELoss(), optimizer, seed=seed))
        trainers[0].fit(x, x, epochs=1, verbose=0)
        trainers[0].save_checkpoint(tmp_path / "checkpoint")
        trainers[1].load_checkpoint(tmp_path / "checkpoint")
        expected, got = (one.fit(x, x, epochs=1, batch_size=2, verbose=0) for one in trainers)
        assert (got.epochs, dict(got)) == ([2], dict(expected))

    def test_part_of_the_parameters_and_layers_of_ones_own(self, tmp_path):
        class Scale:
            """A layer whose only number is learned."""

            training = True

            def __init__(self, value):
                self.factor = rr.Parameter(np.array([value]), "factor")

            def __call__(self, x):
                return x * self.factor.data

            def forward_with_cache(self, x):
                return self(x), x

            def backward(self, dy, *, cache):
                self.factor.grad[...] += (dy * cache).sum()
                return dy * self.factor.data

            def named_parameters(self):
                return iter([("factor", self.factor)])

            def train(self):
                return self

            eval = train

        x, y = arrays()
        trainers = []
        for value in (1.0, 5.0):
            model = rr.Sequential(Scale(value), rr.Linear(2, 1, dtype="float64", seed=1))
            groups = [{"params": [model[0].factor], "lr": 0.5}, {"params": model[1].parameters()}]
            trainers.append(rr.Trainer(model, rr.MSELoss(), rr.SGD(groups, lr=0.1), seed=0))
        trainers[0].train_step(x, y)
        trainers[0].save_checkpoint(tmp_path / "checkpoint")
        trainers[1].load_checkpoint(tmp_path / "checkpoint")
        assert trainers[1].train_step(x, y) == trainers[0].train_step(x, y)
        assert trainers[1].model[0].factor.data == trainers[0].model[0].factor.data


class TestRefusal:
    @pytest.fixture
    def saved(self, tmp_path):
        path = tmp_path / "checkpoint"
        trainer = build(callbacks=[Saving(path)])
        trainer.fit(*arrays(), epochs=1, batch_size=3, verbose=0)
        return path

    def test_u118_damage(self, saved):
        trainer = build(callbacks=[Saving("")])
        trainer.train_step(*arrays())
        before = capture(trainer)
        content = saved.read_bytes()
        generator = np.random.default_rng(0)
        places = generator.integers(0, len(content), 150)
        damaged = [content[:end] for end in (*range(0, len(content), 97), len(content) - 1)]
        for place in places:
            flipped = bytearray(content)
            flipped[place] ^= 1 << generator.integers(8)
            damaged.append(bytes(flipped))
        for one in damaged:
            saved.write_bytes(one)
            with pytest.raises(rr.FileFormatError):
                trainer.load_checkpoint(saved)
        assert_same(capture(trainer), before)
        saved.write_bytes(content)
        trainer.load_checkpoint(saved)

    def test_foreign_files(self, tmp_path):
        trainer = build()
        rr.save(trainer.model, tmp_path / "model")
        with pytest.raises(
            rr.FileFormatError, match=r"does not hold a checkpoint.*a model: recurrust.load reads"
        ):
            trainer.load_checkpoint(tmp_path / "model")
        _core.write_tensors(str(tmp_path / "tensors"), {"a": np.zeros(3)}, {"format": "other"})
        with pytest.raises(rr.FileFormatError, match=r"does not hold a checkpoint of recurrust$"):
            trainer.load_checkpoint(tmp_path / "tensors")
        (tmp_path / "text").write_text("epoch 1")
        with pytest.raises(rr.FileFormatError, match="not a safetensors file"):
            trainer.load_checkpoint(tmp_path / "text")
        with pytest.raises(FileNotFoundError):
            trainer.load_checkpoint(tmp_path / "nothing")
        with pytest.raises(OSError, match=r"irectory|file"):
            trainer.load_checkpoint(tmp_path)

    def test_a_checkpoint_holds_its_model(self, tmp_path):
        x, y = arrays()
        best = rr.ModelCheckpoint(tmp_path / "best", "loss")
        trainer = build(layers=[rr.Dropout(0.5)], callbacks=[best, Remembering()])
        trainer.fit(x, y, epochs=2, verbose=0)
        trainer.save_checkpoint(tmp_path / "end")
        model = rr.load(tmp_path / "end")
        assert not model.training
        assert [type(layer) for layer in model] == [type(layer) for layer in trainer.model]
        np.testing.assert_array_equal(model(x), trainer.predict(x))
        trainer.load_checkpoint(tmp_path / "best")
        np.testing.assert_array_equal(rr.load(tmp_path / "best")(x), trainer.predict(x))
        assert rr.load_scalers(tmp_path / "best") == {}

    def test_a_model_that_is_one_layer_stays_one(self, tmp_path):
        model = rr.Linear(2, 1, seed=0)
        trainer = rr.Trainer(model, rr.MSELoss(), rr.SGD(model.parameters(), lr=0.1))
        trainer.save_checkpoint(tmp_path / "layer")
        loaded = rr.load(tmp_path / "layer")
        assert type(loaded) is rr.Linear
        np.testing.assert_array_equal(loaded.weight, model.weight)

    def test_a_checkpoint_of_a_layer_of_the_users_says_what_to_do(self, tmp_path):
        class Own(rr.Linear):
            pass

        trainer = build(layers=[Own(2, 2, dtype="float64", seed=3)])
        trainer.save_checkpoint(tmp_path / "own")
        with pytest.raises(
            rr.FileFormatError, match=r"layer of your own.*Trainer\.load_checkpoint"
        ):
            rr.load(tmp_path / "own")
        trainer.load_checkpoint(tmp_path / "own")

    def test_a_checkpoint_of_a_newer_release(self, saved):
        tensors, metadata = _core.read_tensors(str(saved))
        _core.write_tensors(str(saved), tensors, {**metadata, "model_version": "2"})
        with pytest.raises(rr.FileFormatError, match=r"format version '2'.*update recurrust"):
            rr.load(saved)

    @pytest.mark.parametrize(
        ("metadata", "text"),
        [
            ({"format_version": "2"}, "format version '2', but this release reads version 1"),
            ({"state": "{"}, "does not describe a checkpoint"),
            ({"state": "[]"}, "does not describe a checkpoint"),
            ({"state": "{}"}, "does not describe a checkpoint: KeyError"),
            ({"state": '{"model": {"~array": "absent"}}'}, "does not describe a checkpoint"),
        ],
    )
    def test_what_reads_well_but_makes_no_sense(self, tmp_path, metadata, text):
        path = tmp_path / "checkpoint"
        standard = {"format": "recurrust.checkpoint", "format_version": "1", "state": "{}"}
        _core.write_tensors(str(path), {}, standard | metadata)
        with pytest.raises(rr.FileFormatError, match=text):
            build().load_checkpoint(path)

    @pytest.mark.parametrize(
        ("part", "value"),
        [
            ("run", {}),
            ("run", 3),
            ("history", {"epochs": [1], "values": {"loss": []}}),
            ("random_stream", [1]),
            ("random_stream", [-1, 0]),
            ("epoch", "many"),
            ("epoch", -1),
            ("seed", -1),
            ("description", None),
            ("model", None),
            ("model", {}),
            ("optimizer", {}),
            ("callbacks", []),
            ("callbacks", [{"running": True}, {}]),
        ],
    )
    def test_parts_that_make_no_sense(self, saved, part, value):
        trainer = build(callbacks=[Saving("")])
        before = capture(trainer)
        write_state(saved, {**read_state(saved), part: value})
        with pytest.raises(rr.FileFormatError, match="does not describe a checkpoint"):
            trainer.load_checkpoint(saved)
        assert_same(capture(trainer), before)

    @pytest.mark.parametrize(
        "part", ["model", "optimizer", "scheduler", "callbacks", "run", "seed"]
    )
    def test_parts_that_are_missing(self, saved, part):
        trainer = build(callbacks=[Saving("")])
        before = capture(trainer)
        state = read_state(saved)
        del state[part]
        write_state(saved, state)
        with pytest.raises(rr.FileFormatError, match=f"does not describe a checkpoint.*'{part}'"):
            trainer.load_checkpoint(saved)
        assert_same(capture(trainer), before)

    @pytest.mark.parametrize(
        ("place", "value", "text"),
        [
            (["batch"], -1, "run.batch must be .*-1"),
            (["batch"], 5, "run.batch must be .*5"),
            (["batch"], 1.5, "run.batch must be .*1.5"),
            (["skipped"], -1, "run.skipped"),
            (["event", 0], "fit", "run.event"),
            (["event", 1], [], "run.event"),
            (["event", 2], -1, "run.event"),
            (["accumulation", "gradients", 0], None, "gradients must be arrays"),
            (["accumulation", "gradients", 0], np.zeros(3), "gradients must have shapes"),
            (["accumulation", "gradients"], [], "gradients must have shapes"),
            (["tally", "seen", 0, 1], "text", "predictions and targets"),
            (["tally", "seen", 0, 1], np.zeros((1, 5, 1)), "predictions and targets"),
        ],
    )
    def test_positions_that_make_no_sense(self, tmp_path, place, value, text):
        path = tmp_path / "checkpoint"
        options = {"accumulate_grad_batches": 4, "metrics": ["mae"]}
        build(callbacks=[Saving(path)], **options).fit(
            *arrays(), epochs=1, batch_size=2, verbose=0, shuffle=False
        )
        state = read_state(path)
        run = state["run"]
        run["batch"] = 3  # as if it were not the last of four
        trainer = build(callbacks=[Saving("")], **options)
        if "gradients" in place:
            gradients = [np.zeros(one.shape) for one in trainer.network.parameters()]
            run["accumulation"] |= {"batches": 3, "gradients": gradients}
        part = run
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        write_state(path, state)
        before = capture(trainer)
        with pytest.raises(rr.FileFormatError, match=f"does not describe a checkpoint.*{text}"):
            trainer.load_checkpoint(path)
        assert_same(capture(trainer), before)

    def test_u119_all_differences_are_listed(self, saved):
        model = rr.Sequential(
            rr.LSTM(2, 8, batch_first=True, seed=1), rr.Dropout(0.5), rr.Linear(8, 1, seed=2)
        )
        optimizer = rr.SGD(model.parameters())
        trainer = rr.Trainer(
            model,
            rr.MAELoss(),
            optimizer,
            rr.StepLR(optimizer, 1),
            metrics={"a": max},
            accumulate_grad_batches=2,
        )
        before = capture(trainer)
        with pytest.raises(rr.ConfigError) as caught:
            trainer.load_checkpoint(saved)
        heading, *lines = str(caught.value).splitlines()
        assert heading == f"{saved} is a checkpoint of another trainer, nothing was changed:"
        assert lines == [
            "  loss: expected 'MSELoss', got 'MAELoss'",
            "  optimizer: expected 'Adam', got 'SGD'",
            "  scheduler: expected None, got 'StepLR'",
            "  accumulate_grad_batches: expected 1, got 2",
            "  callbacks: expected ['Saving'], got []",
            "  metrics: expected [], got ['a']",
            "  layers: expected 2, got 3",
            "  layer 0 (LSTM): hidden_size: expected 4, got 8",
            "  layer 0 (LSTM): dtype: expected 'float64', got 'float32'",
            "  layer 1: expected 'Linear', got 'Dropout'",
            "  layer 1 (Linear): in_features: expected 4, got nothing",
            "  layer 1 (Linear): out_features: expected 1, got nothing",
            "  layer 1 (Linear): bias: expected True, got nothing",
            "  layer 1 (Linear): dtype: expected 'float64', got nothing",
            "  0.weight_ih_l0: expected 'float64 of shape (16, 2)', got 'float32 of shape (32, 2)'",
            "  0.weight_hh_l0: expected 'float64 of shape (16, 4)', got 'float32 of shape (32, 8)'",
            "  0.bias_ih_l0: expected 'float64 of shape (16,)', got 'float32 of shape (32,)'",
            "  0.bias_hh_l0: expected 'float64 of shape (16,)', got 'float32 of shape (32,)'",
            "  1.weight: expected 'float64 of shape (1, 4)', got nothing",
            "  1.bias: expected 'float64 of shape (1,)', got nothing",
            "  layer 1 (Dropout): p: expected nothing, got 0.5",
            "  layer 1 (Dropout): variational: expected nothing, got False",
            "  layer 1 (Dropout): batch_first: expected nothing, got False",
            "  layer 2: expected nothing, got 'Linear'",
            "  layer 2 (Linear): in_features: expected nothing, got 8",
            "  layer 2 (Linear): out_features: expected nothing, got 1",
            "  layer 2 (Linear): bias: expected nothing, got True",
            "  layer 2 (Linear): dtype: expected nothing, got 'float32'",
            "  2.weight: expected nothing, got 'float32 of shape (1, 8)'",
            "  2.bias: expected nothing, got 'float32 of shape (1,)'",
        ]
        assert_same(capture(trainer), before)

    def test_options_without_state_are_those_of_the_trainer(self, tmp_path):
        build(clip_norm=1.0).save_checkpoint(tmp_path / "checkpoint")
        trainer = build(clip_norm=0.5, on_nonfinite="skip")
        trainer.load_checkpoint(tmp_path / "checkpoint")
        assert (trainer.clip_norm, trainer.on_nonfinite) == (0.5, "skip")

    def test_a_part_that_refuses_its_state_undoes_all(self, saved):
        class Saving(Remembering):  # of the name in the file
            def load_state_dict(self, state):
                if "state" not in state:
                    raise ValueError("not mine")
                super().load_state_dict(state)

        trainer = build(callbacks=[Saving()])
        x, y = arrays()
        trainer.fit(x, y, epochs=2, verbose=0)
        before = capture(trainer)
        with pytest.raises(ValueError, match="not mine"):
            trainer.load_checkpoint(saved)
        assert_same(capture(trainer), before)
        assert trainer.fit(x, y, epochs=1, verbose=0).epochs == [3]

    def test_a_state_that_can_not_be_written_leaves_the_file(self, saved):
        content = saved.read_bytes()
        trainer = build(callbacks=[Remembering(object())])
        with pytest.raises(rr.DtypeError, match=r"callbacks\.0\.state must be .*to be saved"):
            trainer.save_checkpoint(saved)
        assert saved.read_bytes() == content

    def test_in_the_middle_of_a_step(self, tmp_path):
        class Handler:
            """A layer that does what a handler of a signal might do."""

            training = True

            def __call__(self, x):
                return x

            def forward_with_cache(self, x):
                trainer.save_checkpoint(tmp_path / "checkpoint")

            def backward(self, dy, *, cache):
                return dy

            def named_parameters(self):
                return iter(())

            def train(self):
                return self

            eval = train

        trainer = build(layers=[Handler()])
        for call in (trainer.train_step, lambda x, y: trainer.fit(x, y, epochs=1, verbose=0)):
            with pytest.raises(rr.StateError, match="in the middle of a training step"):
                call(*arrays())
        assert not list(tmp_path.iterdir())
        trainer.save_checkpoint(tmp_path / "checkpoint")

    def test_while_fit_runs(self, saved):
        class Loading(rr.Callback):
            def on_batch_end(self, trainer, batch, loss):
                with pytest.raises(rr.StateError, match="while fit is running"):
                    trainer.load_checkpoint(saved)
                with pytest.raises(rr.StateError, match="fit is running already"):
                    trainer.fit(*arrays(), epochs=1)
                heard.append(batch)

        heard = []
        trainer = build(callbacks=[Loading()])
        trainer.fit(*arrays(), epochs=1, batch_size=4, verbose=0)
        assert heard == [0, 1]


class TestGoingOn:
    """What `fit` does after `load_checkpoint`."""

    def checkpoint(self, path, *, batch=None, epoch=None, epochs=3, stop=False, **fit):
        """Return the history of a run that was saved within or after an epoch."""

        class Saving(Remembering):
            def on_batch_end(self, trainer, number, loss):
                if (trainer.epoch, number) == (epoch, batch):
                    self.state = "within"
                    trainer.save_checkpoint(path)

            def on_epoch_end(self, trainer, number, values):
                if batch is None and number == epoch:
                    self.state = "between"
                    if stop:
                        trainer.stop()
                    trainer.save_checkpoint(path)

        self.callback = Saving
        trainer = build(callbacks=[Saving()])
        x, y = arrays()
        return trainer.fit(x, y, epochs=epochs, batch_size=2, verbose=0, **fit)

    def load(self, path, **options):
        trainer = build(callbacks=[self.callback()], **options)
        trainer.load_checkpoint(path)
        return trainer

    def test_an_interrupted_epoch_is_finished_first_and_counts(self, tmp_path):
        path = tmp_path / "checkpoint"
        expected = self.checkpoint(path, epoch=1, batch=2)
        trainer = self.load(path)
        assert trainer.epoch == 1
        assert trainer.callbacks[0].state == "within"
        assert trainer.history.epochs == [1]
        history = trainer.fit(*arrays(), epochs=1, batch_size=2, verbose=0)
        assert history.epochs == [1, 2]
        assert history["loss"] == expected["loss"][:2]
        assert trainer.callbacks[0].state == "within"  # not reset: the run went on
        # The run has ended; another begins.
        history = trainer.fit(*arrays(), epochs=1, batch_size=2, verbose=0)
        assert history.epochs == [3]
        assert history["loss"] == expected["loss"][2:]
        assert trainer.callbacks[0].state == {"epochs": 1}

    def test_after_fit_another_run_begins(self, tmp_path):
        x, y = arrays()
        trainer = build(callbacks=[Remembering()])
        first = trainer.fit(x, y, epochs=2, batch_size=2, verbose=0)
        trainer.save_checkpoint(tmp_path / "checkpoint")
        second = trainer.fit(x, y, epochs=1, batch_size=2, verbose=0)
        other = build(callbacks=[Remembering()])
        other.load_checkpoint(tmp_path / "checkpoint")
        assert dict(other.history) == dict(first)
        assert other.callbacks[0].state == {"epochs": 2}
        # Also on other data and with validation.
        history = other.fit(x, y, epochs=1, batch_size=2, verbose=0, validation_data=(x, y))
        assert history.epochs == [3]
        assert history["loss"] == second["loss"]
        assert other.callbacks[0].state == {"epochs": 1}

    def test_other_data_in_the_middle_of_an_epoch(self, tmp_path):
        path = tmp_path / "checkpoint"
        expected = self.checkpoint(path, epoch=1, batch=2)
        trainer = self.load(path)
        before = capture(trainer)
        x, y = arrays()
        with pytest.raises(rr.ConfigError, match="can't go on with these data") as caught:
            trainer.fit(
                x[:6], y[:6], epochs=2, batch_size=3, shuffle=False, verbose=0,
                validation_data=(x, y),
            )  # fmt: skip
        assert str(caught.value).splitlines()[1:] == [
            "  history: expected ['loss', 'lr'], got ['loss', 'val_loss', 'lr']",
            "  samples: expected 7, got 6",
            "  batch_size: expected 2, got 3",
            "  shuffle: expected True, got False",
            "Give it the same, or build a new trainer of the same model and optimizer",
        ]
        with pytest.raises(rr.ConfigError, match="samples: expected 7, got 'batches'"):
            trainer.fit([(x, y)], epochs=2, verbose=0)
        assert_same(capture(trainer), before)
        history = trainer.fit(x, y, epochs=2, batch_size=2, verbose=0)
        assert dict(history) == dict(expected)

    def test_other_data_between_epochs(self, tmp_path):
        path = tmp_path / "checkpoint"
        x, y = arrays()
        expected = self.checkpoint(path, epoch=2)
        trainer = self.load(path)
        assert trainer.callbacks[0].state == "between"
        history = trainer.fit(x[:5], y[:5], epochs=1, batch_size=5, verbose=0)
        assert history.epochs == [1, 2, 3]
        assert history["loss"][:2] == expected["loss"][:2]
        trainer = self.load(path)
        with pytest.raises(rr.ConfigError, match=r"history: expected .*val_loss"):
            trainer.fit(x, y, epochs=1, validation_split=0.5, verbose=0)
        # The way out.
        other = rr.Trainer(trainer.model, trainer.loss, trainer.optimizer)
        assert other.fit(x, y, epochs=1, validation_split=0.5, verbose=0).epochs == [1]

    def test_fewer_batches_than_were_done(self, tmp_path):
        path = tmp_path / "checkpoint"
        x, y = arrays()
        trainer = build(callbacks=[Saving(path)])
        trainer.fit([(x, y)] * 3, epochs=1, verbose=0)
        other = build(callbacks=[Saving(path)])
        other.load_checkpoint(path)
        with pytest.raises(rr.ConfigError, match="x has 2 batches, but 3 were done in the epoch"):
            other.fit([(x, y)] * 2, epochs=1, verbose=0)

    def test_a_run_that_was_stopped_ends_at_once(self, tmp_path):
        path = tmp_path / "checkpoint"
        expected = self.checkpoint(path, epoch=2, stop=True, epochs=9)
        assert expected.epochs == [1, 2]
        trainer = self.load(path)
        history = trainer.fit(*arrays(), epochs=7, batch_size=2, verbose=0)
        assert dict(history) == dict(expected)
        assert trainer.fit(*arrays(), epochs=2, batch_size=2, verbose=0).epochs == [3, 4]

    def test_early_stopping_brings_back_the_best_weights_of_before(self, tmp_path):
        x, y = arrays()
        path = tmp_path / "checkpoint"

        class Worsening(rr.Callback):
            def on_epoch_end(self, trainer, epoch, values):
                best.setdefault(epoch, trainer.network.state_dict())
                trainer.optimizer.lr = 5.0
                if epoch == 2:
                    trainer.save_checkpoint(path)

        best = {}
        callbacks = [rr.EarlyStopping("loss", patience=9), Worsening()]
        trainer = build(callbacks=callbacks)
        trainer.fit(x, y, epochs=3, verbose=0)
        assert callbacks[0].best_epoch == 2
        resumed = build(callbacks=[rr.EarlyStopping("loss", patience=9), Worsening()])
        resumed.load_checkpoint(path)
        history = resumed.fit(x, y, epochs=3, verbose=0)
        assert min(history["loss"]) == history["loss"][1]
        for name, array in resumed.network.state_dict().items():
            np.testing.assert_array_equal(array, best[2][name])

    def test_a_run_that_was_saved_after_its_last_epoch_only_has_to_end(self, tmp_path):
        x, y = arrays()
        path = tmp_path / "checkpoint"

        class Worsening(Saving):
            def on_epoch_end(self, trainer, epoch, values):
                trainer.optimizer.lr = 5.0
                trainer.save_checkpoint(path)

        callbacks = [Worsening(path), rr.EarlyStopping("loss", patience=9)]
        trainer = build(callbacks=callbacks)
        expected = trainer.fit(x, y, epochs=3, verbose=0)
        assert callbacks[1].best_epoch < 3
        resumed = build(callbacks=[Worsening(path), rr.EarlyStopping("loss", patience=9)])
        resumed.load_checkpoint(path)
        history = resumed.fit(x, y, epochs=3 - resumed.epoch, verbose=0)
        assert dict(history) == dict(expected)
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(resumed.network.state_dict()[name], array)
        with pytest.raises(rr.ConfigError, match="epochs must be at least 1, got 0"):
            resumed.fit(x, y, epochs=0, verbose=0)

    def test_a_run_that_could_not_begin_is_still_to_go_on(self, tmp_path):
        path = tmp_path / "checkpoint"

        class Failing(Remembering):
            fails = False

            def on_train_begin(self, trainer, epochs):
                super().on_train_begin(trainer, epochs)
                if self.fails:
                    raise ZeroDivisionError

            def on_batch_end(self, trainer, batch, loss):
                self.state = batch
                if batch == 1:
                    trainer.save_checkpoint(path)

        x, y = arrays()
        expected = build(callbacks=[Failing()]).fit(x, y, epochs=1, batch_size=2, verbose=0)
        trainer = build(callbacks=[Failing()])
        trainer.load_checkpoint(path)
        trainer.callbacks[0].fails = True
        with pytest.raises(ZeroDivisionError):
            trainer.fit(x, y, epochs=1, batch_size=2, verbose=0)
        assert trainer.callbacks[0].state == 1
        trainer.callbacks[0].fails = False
        assert dict(trainer.fit(x, y, epochs=1, batch_size=2, verbose=0)) == dict(expected)

    def test_callbacks_that_began_in_vain_change_nothing(self, tmp_path):
        path = tmp_path / "checkpoint"

        class Failing(rr.Callback):
            fails = False

            def on_train_begin(self, trainer, epochs):
                if self.fails:
                    raise OSError("no disk")

            def on_batch_end(self, trainer, batch, loss):
                if (trainer.epoch, batch) == (2, 1):
                    trainer.save_checkpoint(path)

        def trainer():
            # Its first epoch counts as the best, so its weights are not the latest.
            stopping = rr.EarlyStopping("loss", mode="max")
            return build(callbacks=[stopping, rr.CSVLogger(tmp_path / "log.csv"), Failing()])

        x, y = arrays()
        expected = trainer().fit(x, y, epochs=4, batch_size=3, verbose=0)
        resumed = trainer()
        resumed.load_checkpoint(path)
        before = capture(resumed)
        resumed.callbacks[2].fails = True
        with pytest.raises(OSError, match="no disk"):
            resumed.fit(x, y, epochs=2, batch_size=3, verbose=0)
        assert_same(capture(resumed), before)
        resumed.callbacks[2].fails = False
        history = resumed.fit(x, y, epochs=2, batch_size=3, verbose=0)
        assert (history.epochs, dict(history)) == ([1, 2, 3, 4], dict(expected))

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_loaded_and_saved_or_copied_before_going_on(self, tmp_path, copied):
        x, y = arrays()
        path = tmp_path / "checkpoint"
        trainer = build(callbacks=[rr.Callback()])
        trainer.callbacks[0].on_batch_end = lambda trainer, batch, loss: (
            trainer.save_checkpoint(path) if batch == 1 else None
        )
        expected = trainer.fit(x, y, epochs=1, batch_size=2, verbose=0)
        other = build(callbacks=[rr.Callback()])
        other.load_checkpoint(path)
        other.save_checkpoint(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == path.read_bytes()
        history = copied(other).fit(x, y, epochs=1, batch_size=2, verbose=0)
        assert dict(history) == dict(expected)

    @pytest.mark.parametrize("hook", ["on_train_begin", "on_train_end"])
    def test_saved_before_or_after_the_run(self, tmp_path, hook):
        x, y = arrays()
        path = tmp_path / "checkpoint"
        trainer = build(callbacks=[Saving(path, hook)])
        first = trainer.fit(x, y, epochs=2, verbose=0)
        other = build(callbacks=[rr.Callback()])
        other.callbacks = [Saving(tmp_path / "other", hook)]
        other.load_checkpoint(path)
        epochs = [1, 2] if hook == "on_train_begin" else [3, 4]
        history = other.fit(x, y, epochs=2, verbose=0)
        assert history.epochs == epochs
        assert (history["loss"] == first["loss"]) == (hook == "on_train_begin")

    def test_a_copy_made_in_the_middle_of_a_run_is_in_none(self):
        class Copying(rr.Callback):
            def on_batch_end(self, trainer, batch, loss):
                kept, trainer.callbacks = trainer.callbacks, ()
                copies.append(copy.deepcopy(trainer))
                trainer.callbacks = kept

        copies = []
        build(callbacks=[Copying()]).fit(*arrays(), epochs=1, batch_size=4, verbose=0)
        assert copies[0].fit(*arrays(), epochs=1, verbose=0).epochs == [1]

    def test_verbose_lines_count_the_epochs_of_the_run(self, tmp_path, capsys):
        path = tmp_path / "checkpoint"
        self.checkpoint(path, epoch=1, batch=2)
        trainer = self.load(path)
        trainer.fit(*arrays(), epochs=2, batch_size=2, verbose=2)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[0] for line in lines] == ["epoch 2/3", "epoch 3/3"]
