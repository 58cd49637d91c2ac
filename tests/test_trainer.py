"""The training loop, from the data given to the history returned."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from fractions import Fraction

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import recurrust as rr
from recurrust.training.passes import Measured
from recurrust.training.tally import _PLAIN_MEANS, total_weight

mpl.use("Agg")


def network(kind="sequence", *, batch_first=True, dtype="float64", inputs=2, outputs=1, **options):
    """Return a small model with one output per step ("sequence") or per sample ("last")."""
    options = {"batch_first": batch_first, "dtype": dtype, "seed": 1, **options}
    return rr.Sequential(
        rr.LSTM(inputs, 4, return_sequences=kind == "sequence", **options),
        rr.Linear(4, outputs, dtype=dtype, seed=2),
    )


def make_trainer(model=None, loss=None, lr=0.0, **options):
    model = network() if model is None else model
    optimizer = rr.SGD(model.parameters(), lr=lr)
    options = {"seed": 0, **options}
    return rr.Trainer(model, loss or rr.MSELoss(), optimizer, **options)


def arrays(samples=7, steps=5, inputs=2, outputs=1, seed=0, kind="sequence"):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(samples, steps, inputs))
    y = generator.normal(size=(samples, steps, outputs))
    return x, y if kind == "sequence" else y[:, 0]


class Recorder:
    """A layer that hands everything on and notes what came and in which mode."""

    def __init__(self):
        self.training = True
        self.seen = []

    def __call__(self, x):
        self.seen.append((np.array(x), self.training))
        return x

    def forward_with_cache(self, x):
        return self(x), None

    def backward(self, dy, *, cache):
        return dy

    def named_parameters(self):
        return iter(())

    def train(self):
        self.training = True
        return self

    def eval(self):
        self.training = False
        return self


class BrokenLoss:
    """A loss of one's own whose value and gradient are as told."""

    def __init__(self, value=1.0, gradient=1.0):
        self.value, self.gradient = value, gradient

    def __call__(self, pred, target):
        return self.value

    def value_and_grad(self, pred, target):
        return self.value, np.full_like(pred, self.gradient)


class ShiftedLoss:
    """The mean square error with a constant added, its gradient times a factor."""

    def __init__(self, offset, factor):
        self.offset, self.factor = offset, factor

    def __call__(self, pred, target):
        return rr.MSELoss()(pred, target) + self.offset

    def value_and_grad(self, pred, target):
        return self(pred, target), self.factor * rr.MSELoss().value_and_grad(pred, target)[1]


class TestFit:
    def test_learns(self):
        series = np.sin(np.arange(400, dtype=np.float32) * 0.3)
        x, y = rr.data.windows(series, window=12, horizon=1)
        model = network("last", dtype="float32", inputs=1)
        optimizer = rr.Adam(model.parameters(), lr=0.02)
        trainer = rr.Trainer(model, rr.MSELoss(), optimizer, clip_norm=1.0, seed=0)
        history = trainer.fit(x, y, epochs=15, validation_split=0.2, verbose=0)
        assert history["val_loss"][-1] < 0.01 < history["loss"][0]

    def test_one_epoch_is_one_step_per_batch(self):
        x, y = arrays()
        trainer = make_trainer(lr=0.1)
        by_hand = network()
        loss, optimizer = rr.MSELoss(), rr.SGD(by_hand.parameters(), lr=0.1)
        values = []
        for rows in (slice(0, 3), slice(3, 6), slice(6, 7)):
            pred, cache = by_hand.forward_with_cache(x[rows])
            value, gradient = loss.value_and_grad(pred, y[rows])
            by_hand.zero_grad()
            by_hand.backward(gradient, cache=cache)
            optimizer.step()
            values.append(value)
        history = trainer.fit(x, y, epochs=1, batch_size=3, shuffle=False, verbose=0)
        for name, array in by_hand.state_dict().items():
            np.testing.assert_allclose(trainer.network.state_dict()[name], array, rtol=1e-12)
        assert history["loss"] == [pytest.approx(np.average(values, weights=[3, 3, 1]))]
        assert history["lr"] == [0.1]

    def test_history_and_epochs_go_on(self):
        x, y = arrays()
        trainer = make_trainer(lr=0.1)
        first = trainer.fit(x, y, epochs=2, verbose=0)
        assert first.epochs == [1, 2]
        trainer.optimizer.lr = 0.05
        second = trainer.fit(x, y, epochs=3, verbose=0)
        assert second.epochs == [3, 4, 5]
        assert second["lr"] == [0.05] * 3
        assert trainer.history is second
        assert trainer.epoch == 5
        assert len(first["loss"]) == 2

    def test_two_fits_are_one(self):
        x, y = arrays(40)
        whole, parts = make_trainer(lr=0.1), make_trainer(lr=0.1)
        expected = whole.fit(x, y, epochs=4, batch_size=8, verbose=0)["loss"]
        got = parts.fit(x, y, epochs=1, batch_size=8, verbose=0)["loss"]
        got = got + parts.fit(x, y, epochs=3, batch_size=8, verbose=0)["loss"]
        assert got == expected

    def test_pickled_trainer_goes_on_bit_for_bit(self):
        x, y = arrays(20)
        model = rr.Sequential(rr.Dropout(0.5), *network(dtype="float32"))
        optimizer = rr.Adam(model.parameters())
        trainer = rr.Trainer(model, rr.MSELoss(), optimizer, clip_norm=0.5, seed=4)
        rr.manual_seed(5)
        trainer.fit(x, y, epochs=2, batch_size=6, verbose=0)
        saved, state = pickle.dumps(trainer), rr.get_rng_state()
        expected = trainer.fit(x, y, epochs=2, batch_size=6, verbose=0)
        rr.set_rng_state(state)
        again = pickle.loads(saved).fit(x, y, epochs=2, batch_size=6, verbose=0)
        assert dict(again) == dict(expected)
        assert again.epochs == expected.epochs == [3, 4]

    def test_any_layer_can_be_trained(self):
        x, y = arrays(outputs=4)
        layer = rr.LSTM(2, 4, batch_first=True, dtype="float64", seed=1)
        trainer = make_trainer(layer, lr=0.5)
        history = trainer.fit(x, y, epochs=5, verbose=0)
        assert history["loss"][-1] < history["loss"][0]
        np.testing.assert_array_equal(trainer.predict(x), layer(x)[0])

    def test_model_without_recurrent_layer(self):
        generator = np.random.default_rng(3)
        x = generator.normal(size=(64, 3))
        y = x @ [[1.0], [2.0], [3.0]] + 4.0
        model = rr.Sequential(rr.Linear(3, 1, dtype="float64", seed=1))
        trainer = make_trainer(model, lr=0.1)
        history = trainer.fit(x, y, epochs=100, batch_size=16, verbose=0)
        assert history["loss"][-1] < 1e-10
        np.testing.assert_allclose(model[0].weight, [[1, 2, 3]], atol=1e-4)

    def test_same_array_as_input_and_target(self):
        x, _ = arrays(inputs=1)
        trainer = make_trainer(network(inputs=1), lr=0.1)
        expected = make_trainer(network(inputs=1), lr=0.1).fit(x, x.copy(), epochs=2, verbose=0)
        assert dict(trainer.fit(x, x, epochs=2, verbose=0)) == dict(expected)

    def test_integer_classes(self):
        generator = np.random.default_rng(2)
        x = generator.normal(size=(60, 5, 2)).astype(np.float32)
        y = (x[:, :, 0].sum(axis=1) > 0).astype(np.int64)
        model = network("last", dtype="float32", outputs=2)
        trainer = rr.Trainer(
            model,
            rr.CrossEntropyLoss(),
            rr.Adam(model.parameters(), lr=0.05),
            seed=0,
            metrics={"accuracy": lambda pred, target: np.mean(pred.argmax(-1) == target)},
        )
        trainer.fit(x, y, epochs=30, verbose=0)
        assert trainer.evaluate(x, y)["accuracy"] > 0.9
        assert trainer.history["accuracy"][-1] > 0.9

    def test_a_fit_that_can_not_begin_leaves_the_record_of_the_one_before(self):
        x, y = arrays()
        stopping = rr.EarlyStopping("loss", patience=1, mode="max")
        trainer = make_trainer(lr=0.1, callbacks=[stopping])
        history = trainer.fit(x, y, epochs=5, verbose=0)
        assert history.epochs == [1, 2]
        trainer.callbacks = [stopping, rr.EarlyStopping("val_loss")]
        with pytest.raises(rr.ConfigError, match="'val_loss' is not recorded"):
            trainer.fit(x, y, epochs=1, verbose=0)
        assert trainer.history is history
        assert (stopping.best, stopping.best_epoch) == (history["loss"][0], 1)
        assert trainer._stopping


class TestLayouts:
    @pytest.mark.parametrize("kind", ["sequence", "last"])
    def test_time_major_model_sees_the_same_data(self, kind):
        x, y = arrays(kind=kind)
        lengths = np.array([5, 3, 0, 1, 5, 2, 4])
        runs = []
        for batch_first in (True, False):
            trainer = make_trainer(network(kind, batch_first=batch_first), lr=0.1)
            history = trainer.fit(x, y, epochs=3, batch_size=3, lengths=lengths, verbose=0)
            runs.append(
                (
                    history["loss"],
                    [trainer.evaluate(x, y, lengths=lengths)["loss"]],
                    trainer.predict(x, lengths=lengths),
                )
            )
        for first, second in zip(*runs, strict=True):
            np.testing.assert_allclose(second, first, rtol=1e-10)

    def test_time_major_model_gets_a_view(self):
        x, y = arrays(6)
        recorder = Recorder()
        trainer = make_trainer(rr.Sequential(recorder, *network(batch_first=False)))
        trainer.evaluate(x, y, batch_size=6)
        np.testing.assert_array_equal(recorder.seen[0][0], x.swapaxes(0, 1))

    def test_equal_numbers_of_samples_and_steps(self):
        x, y = arrays(5, 5)
        expected = make_trainer(network()).evaluate(x, y)["loss"]
        got = make_trainer(network(batch_first=False)).evaluate(x, y)["loss"]
        assert got == pytest.approx(expected, rel=1e-12)

    def test_u97_list_of_sequences_is_padded_data_with_lengths(self):
        generator = np.random.default_rng(8)
        lengths = [4, 1, 6, 0, 3]
        x = [generator.normal(size=(steps, 2)) for steps in lengths]
        y = [generator.normal(size=(steps, 1)) for steps in lengths]
        padded, padded_lengths = rr.data.pad_sequences(x)
        targets, _ = rr.data.pad_sequences(y)
        listed, dense = make_trainer(lr=0.1), make_trainer(lr=0.1)
        options = {"epochs": 3, "batch_size": 2, "verbose": 0}
        got = listed.fit(x, y, **options)["loss"]
        expected = dense.fit(padded, targets, lengths=padded_lengths, **options)["loss"]
        np.testing.assert_allclose(got, expected, rtol=1e-12)
        pred = listed.predict(x, batch_size=2)
        assert pred.shape == (5, 6, 1)
        np.testing.assert_allclose(pred, dense.predict(padded, lengths=padded_lengths), rtol=1e-10)
        for row, steps in enumerate(lengths):
            assert not pred[row, steps:].any()
        assert listed.evaluate(x, y)["loss"] == pytest.approx(
            dense.evaluate(padded, targets, lengths=padded_lengths)["loss"]
        )

    def test_list_of_sequences_with_one_target_each(self):
        generator = np.random.default_rng(8)
        x = [generator.normal(size=(steps, 2)) for steps in (4, 1, 6)]
        y = generator.normal(size=(3, 1))
        trainer = make_trainer(network("last"), lr=0.1)
        history = trainer.fit(x, y, epochs=20, verbose=0, validation_data=(x, y))
        assert history["loss"][-1] < history["loss"][0]
        solo = np.concatenate([trainer.predict(sequence[None]) for sequence in x])
        np.testing.assert_allclose(trainer.predict(x), solo, rtol=1e-10)

    def test_u97_other_containers(self):
        x, y = arrays()
        expected = make_trainer().evaluate(x, y)["loss"]
        trainer = make_trainer()
        assert trainer.evaluate(x.tolist(), y.tolist())["loss"] == expected
        assert trainer.evaluate(list(x), tuple(y))["loss"] == expected
        frames = [pd.DataFrame(sample) for sample in x]
        assert trainer.evaluate(frames, y)["loss"] == expected
        ragged = np.empty(2, dtype=object)
        ragged[:] = [x[0], x[1, :3]]
        assert np.isfinite(trainer.predict(ragged)).all()

    def test_u97_data_frame_for_a_model_without_recurrent_layer(self):
        frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
        model = rr.Sequential(rr.Linear(2, 1, dtype="float64", seed=1))
        pred = make_trainer(model).predict(frame)
        np.testing.assert_allclose(pred, frame.to_numpy() @ model[0].weight.T + model[0].bias)
        with pytest.raises(rr.DtypeError, match="one numeric dtype"):
            make_trainer(model).predict(pd.DataFrame({"a": [1.0], "b": ["text"]}))

    def test_read_only_and_memory_mapped_data(self, tmp_path):
        x, y = arrays()
        expected = make_trainer(lr=0.1).fit(x, y, epochs=1, verbose=0)["loss"]
        np.save(tmp_path / "x.npy", x)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        y.flags.writeable = False
        assert make_trainer(lr=0.1).fit(mapped, y, epochs=1, verbose=0)["loss"] == expected
        assert not y.flags.writeable

    def test_data_become_the_models_dtype(self):
        x, y = arrays()
        model = network(dtype="float32")
        recorder = Recorder()
        trainer = make_trainer(rr.Sequential(recorder, *model))
        trainer.evaluate(x, y)
        assert recorder.seen[0][0].dtype == np.float32
        integers = np.arange(20).reshape(2, 5, 2)
        np.testing.assert_array_equal(
            make_trainer(model).predict(integers), model.eval()(integers.astype(np.float32))
        )

    def test_prediction_does_not_depend_on_the_batch(self):
        x, _ = arrays(11)
        trainer = make_trainer()
        whole = trainer.predict(x)
        for batch_size in (1, 4, 11):
            np.testing.assert_allclose(trainer.predict(x, batch_size=batch_size), whole, rtol=1e-10)
        np.testing.assert_array_equal(whole, trainer.model.eval()(x))


class OwnLayer:
    """A layer of the user's without parameters, made of two functions."""

    def __init__(self, function, derivative):
        self.training = True
        self._function, self._derivative = function, derivative

    def __call__(self, x):
        return self._function(x)

    def forward_with_cache(self, x):
        return self(x), x.shape

    def backward(self, dy, *, cache):
        return self._derivative(dy, cache)

    def named_parameters(self):
        return iter(())

    def train(self):
        self.training = True
        return self

    def eval(self):
        self.training = False
        return self


def reshaped(*shape):
    """Return a layer that gives every sample another shape."""
    return OwnLayer(lambda x: x.reshape(len(x), *shape), lambda dy, cache: dy.reshape(cache))


def last_step():
    """Return a layer that keeps the last step as if it were three."""

    def derivative(dy, shape):
        dx = np.zeros(shape, dy.dtype)
        dx[:, -1] = dy[..., 0]
        return dx

    return OwnLayer(lambda x: x[:, -1][..., np.newaxis], derivative)


class TestWhetherOutputsBelongToSteps:
    """Outputs may have as many entries as there are steps, and yet be others."""

    ragged = tuple(np.full((steps, 2), 0.1 * steps) for steps in (1, 3, 2, 5))

    def test_an_output_for_the_sample_is_whole_in_every_batch(self):
        trainer = make_trainer(rr.Sequential(*network("last", outputs=3), reshaped(3, 1)))
        alone = trainer.predict(self.ragged[:3])
        np.testing.assert_array_equal(trainer.predict(self.ragged, batch_size=3)[:3], alone)
        assert (alone != 0).all()

    def test_no_output_for_the_sample_is_left_out_of_the_loss(self):
        trainer = make_trainer(rr.Sequential(*network("last", outputs=3), reshaped(3, 1)))
        y = np.arange(12.0).reshape(4, 3, 1)
        expected = np.square(trainer.predict(self.ragged) - y).mean()
        for batch_size in (1, 3, 4):
            loss = trainer.evaluate(self.ragged, y, batch_size=batch_size)["loss"]
            assert loss == pytest.approx(expected, rel=1e-12)
            shown = trainer.fit(
                self.ragged, y, epochs=1, batch_size=batch_size, shuffle=False, verbose=0
            )
            assert shown["loss"] == pytest.approx([expected], rel=1e-12)

    def test_one_array_of_targets_tells_what_a_layer_of_the_users_does(self):
        x = [np.full((steps, 2), 0.1 * steps) for steps in (1, 3, 2)]
        y = np.arange(9.0).reshape(3, 3, 1)
        model = network(outputs=3)
        trainer = make_trainer(rr.Sequential(*model, last_step()))
        expected = np.square(
            model.eval()(
                np.stack([np.pad(one, ((0, 3 - len(one)), (0, 0))) for one in x]),
                np.array([1, 3, 2]),
            )[:, -1, :, np.newaxis]
            - y
        ).mean()
        assert trainer.evaluate(x, y)["loss"] == pytest.approx(expected, rel=1e-12)

    def test_outputs_that_do_not_go_together_are_refused(self):
        trainer = make_trainer(rr.Sequential(*network(outputs=3), last_step()))
        with pytest.raises(rr.ShapeError, match="return_sequences = False"):
            trainer.predict(self.ragged, batch_size=3)
        layer = last_step()
        layer.return_sequences = False
        trainer = make_trainer(rr.Sequential(*network(outputs=3), layer))
        assert trainer.predict(self.ragged, batch_size=3).shape == (4, 3, 1)

    def test_targets_of_steps_mask_outputs_without_an_axis_of_features(self):
        squeeze = OwnLayer(lambda x: x[..., 0], lambda dy, cache: dy[..., np.newaxis])
        y = [np.arange(float(len(one))) for one in self.ragged]
        expected = make_trainer().evaluate(self.ragged, [one[:, np.newaxis] for one in y])
        for batch_first in (True, False):
            model = rr.Sequential(*network(batch_first=batch_first), squeeze)
            got = make_trainer(model).evaluate(self.ragged, y)
            assert got["loss"] == pytest.approx(expected["loss"], rel=1e-12)

    @pytest.mark.parametrize("steps", [4, 5])
    def test_a_decoders_steps_are_not_those_of_the_inputs(self, steps):
        x, _ = arrays()
        y = np.arange(7.0 * steps).reshape(7, steps, 1)
        lengths = np.array([5, 3, 1, 1, 5, 2, 4])
        repeat = OwnLayer(
            lambda h: np.repeat(h[:, np.newaxis], steps, axis=1), lambda dy, cache: dy.sum(axis=1)
        )

        def model():
            options = {"batch_first": True, "dtype": "float64"}
            return rr.Sequential(
                rr.LSTM(2, 4, return_sequences=False, seed=1, **options),
                repeat,
                Unaware(rr.LSTM(4, 4, seed=2, **options)),
                rr.Linear(4, 1, seed=3, dtype="float64"),
            )

        class Unaware(OwnLayer):
            """A decoder to which the lengths of the inputs say nothing."""

            return_sequences = True

            def __init__(self, layer):
                super().__init__(lambda h: layer(h)[0], None)

        trainer = make_trainer(model())
        pred = trainer.predict(x, lengths=lengths)
        assert (pred != 0).all()
        loss = trainer.evaluate(x, y, lengths=lengths)["loss"]
        assert loss == pytest.approx(np.square(pred - y).mean(), rel=1e-12)


class TestBadData:
    @pytest.mark.parametrize("method", ["fit", "evaluate", "predict", "train_step"])
    def test_u75_no_samples(self, method):
        trainer = make_trainer()
        options = {"epochs": 1, "verbose": 0} if method == "fit" else {}
        targets = () if method == "predict" else ([],)
        with pytest.raises(rr.ShapeError, match="x has no samples"):
            getattr(trainer, method)([], *targets, **options)
        with pytest.raises(rr.ShapeError, match="x has no samples"):
            getattr(trainer, method)(np.zeros((0, 5, 2)), *targets, **options)

    def test_u75_different_numbers_of_samples(self):
        x, y = arrays()
        trainer = make_trainer()
        with pytest.raises(rr.ShapeError, match="x has 7 samples, but y has 6"):
            trainer.fit(x, y[:6], epochs=1, verbose=0)
        with pytest.raises(rr.ShapeError, match="x has 7 samples, but y has 6"):
            trainer.evaluate(x, y[:6])
        with pytest.raises(rr.ShapeError, match="x has 7 samples, but sample_weight has 6"):
            trainer.fit(x, y, sample_weight=np.ones(6), epochs=1, verbose=0)

    @pytest.mark.parametrize(
        ("lengths", "error", "text"),
        [
            ([5] * 6, rr.ShapeError, r"lengths must have shape \(7,\).*\(6,\)"),
            ([6] * 7, rr.ShapeError, "between 0 and the 5 steps of x, got 6"),
            ([-1] * 7, rr.ShapeError, "between 0 and the 5 steps of x, got -1"),
            ([1.5] * 7, rr.DtypeError, "lengths must hold integers, got dtype float64"),
        ],
    )
    def test_lengths(self, lengths, error, text):
        x, y = arrays()
        with pytest.raises(error, match=text):
            make_trainer().fit(x, y, lengths=lengths, epochs=1, verbose=0)

    def test_lists_that_do_not_match(self):
        x = [np.zeros((3, 2)), np.zeros((4, 2))]
        trainer = make_trainer()
        with pytest.raises(rr.ShapeError, match=r"x\[1\] has 4 steps, but y\[1\] 5"):
            trainer.evaluate(x, [np.zeros((3, 1)), np.zeros((5, 1))])
        with pytest.raises(rr.ShapeError, match=r"x\[1\] has shape \(4, 3\)"):
            trainer.predict([np.zeros((3, 2)), np.zeros((4, 3))])
        with pytest.raises(rr.ConfigError, match="lengths can't be given for a list"):
            trainer.predict(x, lengths=[3, 4])
        with pytest.raises(rr.ShapeError, match=r"y holds sequences.*x is one array"):
            trainer.evaluate(np.zeros((2, 5, 2)), [np.zeros((3, 1)), np.zeros((5, 1))])
        with pytest.raises(rr.ShapeError, match=r"x\[1\].*single number"):
            trainer.predict([np.zeros((3, 2)), 4.0])

    def test_steps_without_features(self):
        trainer = make_trainer(network(inputs=1))
        with pytest.raises(
            rr.ShapeError, match=r"\(samples, steps, features\).*\(4, 5\); x\[\.\.\., numpy.newaxis"
        ):
            trainer.predict(np.zeros((4, 5)))
        with pytest.raises(rr.ShapeError, match="single number"):
            trainer.predict(1.0)

    def test_what_is_no_number(self):
        trainer = make_trainer()
        with pytest.raises(rr.DtypeError, match="x must hold real numbers, got dtype <U1"):
            trainer.predict([["a", "b"]])
        with pytest.raises(rr.DtypeError, match="complex"):
            trainer.predict(np.zeros((1, 5, 2), dtype=complex))

    def test_u69_target_that_would_broadcast(self):
        x, y = arrays(kind="last")
        trainer = make_trainer(network("last"))
        for loss in (rr.MSELoss(), rr.MAELoss()):
            trainer.loss = loss
            with pytest.raises(rr.ShapeError) as caught:
                trainer.fit(x, y[:, 0], epochs=1, verbose=0)
            assert "(7, 1)" in str(caught.value)
            assert "(7,)" in str(caught.value)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_u74_one_bad_cell_is_named_before_training(self, value):
        x, y = arrays()
        x[4, 3, 1] = value
        trainer = make_trainer(lr=0.1)
        before = trainer.network.state_dict()
        with pytest.raises(rr.NonFiniteError, match=f"^x is {value} at row 4, step 3, column 1"):
            trainer.fit(x, y, epochs=1, verbose=0)
        assert trainer.epoch == 0
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, before[name])
        with pytest.raises(rr.NonFiniteError, match="the loss is nan in epoch 1, batch 0"):
            trainer.fit(x * np.nan, y, epochs=1, check_finite=False, verbose=0)

    def test_u74_targets_weights_lists_and_validation(self):
        x, y = arrays()
        trainer = make_trainer()
        bad = y.copy()
        bad[2, 1, 0] = np.nan
        with pytest.raises(rr.NonFiniteError, match=r"^y is nan at row 2, step 1, column 0"):
            trainer.fit(x, bad, epochs=1, verbose=0)
        with pytest.raises(rr.NonFiniteError, match=r"^validation y is nan at row 2, step 1"):
            trainer.fit(x, y, validation_data=(x, bad), epochs=1, verbose=0)
        with pytest.raises(rr.NonFiniteError, match=r"^sample_weight is inf at row 1"):
            trainer.fit(x, y, sample_weight=[1, np.inf, 1, 1, 1, 1, 1], epochs=1, verbose=0)
        ragged = [x[0], x[1, :3].copy()]
        ragged[1][2, 0] = np.nan
        with pytest.raises(rr.NonFiniteError, match=r"^x is nan at row 1, step 2, column 0"):
            trainer.fit(ragged, [y[0], y[1, :3]], epochs=1, verbose=0)

    def test_what_overflows_in_the_models_dtype_is_named(self):
        x, y = arrays()
        trainer = make_trainer(network(dtype="float32"))
        large = x.copy()
        large[4, 3, 1] = 1e300
        text = (
            r"^{}x is 1e\+300 at row 4, step 3, column 1, beyond the range of the model's float32$"
        )
        with pytest.raises(rr.NonFiniteError, match=text.format("")):
            trainer.fit(large, y, epochs=1, verbose=0)
        with pytest.raises(rr.NonFiniteError, match=text.format("")):
            trainer.fit([*large, x[0, :2]], [*y, y[0, :2]], epochs=1, verbose=0)
        with pytest.raises(rr.NonFiniteError, match=text.format("validation ")):
            trainer.fit(x, y, validation_data=(large, y), epochs=1, verbose=0)
        with pytest.raises(
            rr.NonFiniteError, match=r"^y is -1e\+39 at row 0, step 0, column 0, bey"
        ):
            trainer.fit(x, np.full_like(y, -1e39), epochs=1, verbose=0)
        # The largest of float32 is within its range, also where it takes rounding to get there.
        x[0, 0, 0] = np.nextafter(np.float64(np.finfo(np.float32).max), np.inf)
        trainer.fit(x, y, epochs=1, verbose=0)
        # Padding is not looked at, and float64 holds more.
        with np.errstate(over="ignore"):
            trainer.fit(large, y, epochs=1, verbose=0, lengths=[5, 5, 5, 5, 3, 5, 5])
        make_trainer().fit(large, y, epochs=1, verbose=0)

    def test_padding_may_hold_anything(self):
        x, y = arrays()
        lengths = np.array([5, 3, 0, 1, 5, 2, 4])
        expected = make_trainer(lr=0.1).fit(x, y, lengths=lengths, epochs=2, verbose=0)["loss"]
        padding = np.arange(5) >= lengths[:, None]
        x[padding] = np.nan
        y[padding] = np.inf
        got = make_trainer(lr=0.1).fit(x, y, lengths=lengths, epochs=2, verbose=0)["loss"]
        assert got == expected

    def test_batches_where_arrays_are_needed(self):
        x, y = arrays()
        trainer = make_trainer()
        for targets in ([(x, y), (x[:3], y[:3])], iter([(x, y)])):
            with pytest.raises(rr.DtypeError, match="y is missing: arrays with targets"):
                trainer.evaluate(targets, None)
        with pytest.raises(rr.DtypeError, match="y is missing"):
            trainer.train_step(x, None)
        for validation in ((x, None), {"x": x, "y": None}):
            with pytest.raises(rr.DtypeError, match="y is missing"):
                trainer.fit(x, y, validation_data=validation, epochs=1, verbose=0)
        with pytest.raises(rr.ShapeError, match=r"x\[0\] must be one array"):
            trainer.predict([(x, y[:3]), (x[:3], y[:3])])
        assert trainer.epoch == 0

    def test_weights_of_different_lengths(self):
        x, y = arrays(2, 3)
        weights = [[1.0], [1.0, 2.0, 3.0]]
        with pytest.raises(rr.ShapeError, match=r"sample_weight must be one array.*pad_sequences"):
            make_trainer().fit([x[0, :1], x[1]], [y[0, :1], y[1]], epochs=1, sample_weight=weights)


class TestAveraging:
    """The loss of an epoch or data set is that of all its elements, however it is cut."""

    lengths = np.array([5, 3, 0, 1, 5, 2, 4])

    def losses(self, trainer, x, y, **options):
        for batch_size in (1, 2, 3, 7, 100):
            yield trainer.evaluate(x, y, batch_size=batch_size, **options)["loss"]
            history = trainer.fit(x, y, batch_size=batch_size, epochs=1, verbose=0, **options)
            yield history["loss"][0]

    def test_u73_masked_steps_count_for_nothing(self):
        x, y = arrays(2, 3)
        lengths = np.array([1, 3])
        trainer = make_trainer()
        pred = trainer.predict(x)
        squares = (pred - y) ** 2
        expected = (squares[0, 0, 0] + squares[1].sum()) / 4
        for value in self.losses(trainer, x, y, lengths=lengths):
            assert value == pytest.approx(expected, rel=1e-12)

    def test_u73_gradient(self):
        x, y = arrays(2, 3)
        model = network()
        pred, cache = model.forward_with_cache(x, np.array([1, 3]))
        valid = np.array([[1, 0, 0], [1, 1, 1]])[:, :, None]
        model.backward(2 * (pred - y) * valid / 4, cache=cache)
        before = model.state_dict()
        gradients = {name: parameter.grad.copy() for name, parameter in model.named_parameters()}
        make_trainer(model, lr=1.0).train_step(x, y, lengths=[1, 3])
        for name, array in model.state_dict().items():
            np.testing.assert_allclose(array, before[name] - gradients[name], atol=1e-14)

    def test_sample_weights(self):
        x, y = arrays()
        trainer = make_trainer()
        squares = (trainer.predict(x) - y)[:, :, 0] ** 2
        weights = np.array([1.0, 0.5, 2.0, 0.0, 3.0, 0.25, 1.0])
        expected = (weights * squares.mean(axis=1)).sum() / weights.sum()
        for value in self.losses(trainer, x, y, sample_weight=weights):
            assert value == pytest.approx(expected, rel=1e-12)

    def test_weights_of_steps_and_lengths_together(self):
        x, y = arrays()
        trainer = make_trainer()
        valid = np.arange(5) < self.lengths[:, None]
        weights = np.random.default_rng(1).uniform(size=(7, 5))
        squares = (trainer.predict(x, lengths=self.lengths) - y)[:, :, 0] ** 2
        expected = (weights * valid * squares).sum() / (weights * valid).sum()
        options = {"sample_weight": weights, "lengths": self.lengths}
        for value in self.losses(trainer, x, y, **options):
            assert value == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("kind", ["last", "sequence"])
    def test_weights_of_sequences_of_different_lengths(self, kind):
        """They are shaped like the unreduced loss, however short the sequences of a batch are."""
        x, y = arrays(outputs=4 if kind == "last" else 1, kind=kind)
        lengths = [1, 2, 1, 3, 2, 3, 5]
        ragged = [sequence[:steps] for sequence, steps in zip(x, lengths, strict=True)]
        trainer = make_trainer(network(kind, outputs=y.shape[-1]))
        weights = np.random.default_rng(1).uniform(size=(7, y.shape[-1] if kind == "last" else 5))
        squares = (trainer.predict(ragged) - y) ** 2
        valid = np.ones((7, 4))
        targets = y
        if kind == "sequence":
            squares = squares[..., 0]
            valid = np.arange(5) < np.array(lengths)[:, np.newaxis]
            targets = [one[:steps] for one, steps in zip(y, lengths, strict=True)]
        expected = (weights * valid * squares).sum() / (weights * valid).sum()
        for value in self.losses(trainer, ragged, targets, sample_weight=weights):
            assert value == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("ragged", [False, True])
    def test_class_weights_and_ignored_targets(self, ragged):
        generator = np.random.default_rng(4)
        x, _ = arrays()
        y = generator.integers(0, 3, size=(7, 5))
        y[generator.uniform(size=y.shape) < 0.3] = -100
        y[3] = -100
        class_weights = np.array([1.0, 2.0, 0.5])
        loss = rr.CrossEntropyLoss(class_weights, ignore_index=-100)
        trainer = make_trainer(network(outputs=3), loss)
        logits = trainer.predict(x, lengths=self.lengths)
        logarithms = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        counted = (np.arange(5) < self.lengths[:, None]) & (y != -100)
        chosen = y[counted]
        weights = class_weights[chosen]
        expected = -(weights * logarithms[counted][np.arange(len(chosen)), chosen]).sum()
        expected /= weights.sum()
        options = {"lengths": self.lengths}
        if ragged:
            x = [sample[:steps] for sample, steps in zip(x, self.lengths, strict=True)]
            y = [sample[:steps] for sample, steps in zip(y, self.lengths, strict=True)]
            options = {}
        for value in self.losses(trainer, x, y, **options):
            assert value == pytest.approx(expected, rel=1e-12)

    def test_some_predictions_for_each_step(self):
        x, y = arrays()
        levels = np.array([0.1, 0.5, 0.9])
        trainer = make_trainer(network(outputs=3), rr.QuantileLoss(levels))
        short = y - trainer.predict(x, lengths=self.lengths)
        costs = np.maximum(levels * short, (levels - 1) * short).mean(axis=-1)
        expected = costs[np.arange(5) < self.lengths[:, None]].mean()
        for value in self.losses(trainer, x, y[..., 0], lengths=self.lengths):
            assert value == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            (rr.MSELoss, {}),
            (rr.MAELoss, {}),
            (rr.HuberLoss, {"delta": 0.5}),
            (rr.SmoothL1Loss, {"beta": 0.5}),
            (rr.BCEWithLogitsLoss, {}),
            (rr.BCEWithLogitsLoss, {"pos_weight": [2.0, 3.0]}),
        ],
    )
    def test_plain_elements_are_counted_as_total_weight_does(self, kind, options):
        loss = kind(**options)
        assert kind in _PLAIN_MEANS
        pred, target = np.zeros((3, 4, 2)), np.ones((3, 4, 2))
        assert loss.total_weight(pred, target) == 24.0
        assert total_weight(loss, Measured(0.0, pred, target, {}, True)) == 24.0

        class Counting(kind):
            def total_weight(self, *arguments, **keywords):
                return 2 * super().total_weight(*arguments, **keywords)

        assert total_weight(Counting(**options), Measured(0.0, pred, target, {}, True)) == 48.0
        weights = {"sample_weight": np.array([1.0, 0.5, 0.0])}
        assert total_weight(loss, Measured(0.0, pred, target, weights, True)) == 1.5 * 8

    def test_sums_add_up(self):
        x, y = arrays()
        trainer = make_trainer(loss=rr.MSELoss(reduction="sum"))
        expected = ((trainer.predict(x) - y) ** 2).sum()
        for value in self.losses(trainer, x, y):
            assert value == pytest.approx(expected, rel=1e-12)

    def test_losses_of_ones_own_are_averaged_over_elements(self):
        class Squares:
            def __call__(self, pred, target, mask=None):
                return self.value_and_grad(pred, target, mask)[0]

            def value_and_grad(self, pred, target, mask=None):
                valid = np.ones(pred.shape[:2]) if mask is None else mask
                difference = (pred - target) * valid[:, :, None]
                total = max(valid.sum(), 1)
                return (difference**2).sum() / total, 2 * difference / total

        x, y = arrays()
        expected = make_trainer().evaluate(x, y, lengths=self.lengths)["loss"]
        for value in self.losses(make_trainer(loss=Squares()), x, y, lengths=self.lengths):
            assert value == pytest.approx(expected, rel=1e-12)

    def test_nothing_valid(self):
        x, y = arrays()
        trainer = make_trainer(lr=0.1)
        before = trainer.network.state_dict()
        assert trainer.evaluate(x, y, lengths=[0] * 7) == {"loss": 0.0}
        assert trainer.fit(x, y, lengths=[0] * 7, epochs=1, verbose=0)["loss"] == [0.0]
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    def test_a_mean_of_nothing_counts_for_nothing(self):
        """A loss of the user's may make NaN of a batch without any valid step."""

        class Mean:
            def __call__(self, pred, target, mask):
                with np.errstate(invalid="ignore"):
                    return np.square((pred - target)[mask]).sum() / np.float64(mask.sum())

            def value_and_grad(self, pred, target, mask):
                raise NotImplementedError

        x, y = arrays()
        lengths = np.array([5, 3, 0, 1, 0, 0, 4])
        expected = make_trainer().evaluate(x, y, lengths=lengths)["loss"]
        for batch_size in (1, 2, 7):
            trainer = make_trainer(loss=Mean())
            got = trainer.evaluate(x, y, lengths=lengths, batch_size=batch_size)["loss"]
            assert got == pytest.approx(expected, rel=1e-12)


class TestMetrics:
    def test_metrics_see_all_valid_elements_at_once(self):
        shapes = []

        def worst(pred, target):
            shapes.append(pred.shape)
            return np.abs(pred - target).max()

        x, y = arrays()
        lengths = np.array([5, 3, 0, 1, 5, 2, 4])
        trainer = make_trainer(metrics=[worst])
        pred = trainer.predict(x, lengths=lengths)
        valid = np.arange(5) < lengths[:, None]
        expected = np.abs(pred - y)[valid].max()
        for batch_size in (2, 7):
            result = trainer.evaluate(x, y, lengths=lengths, batch_size=batch_size)
            assert result["worst"] == pytest.approx(expected, rel=1e-12)
        assert shapes == [(20, 1), (20, 1)]
        history = trainer.fit(
            x, y, lengths=lengths, epochs=2, batch_size=2, verbose=0,
            validation_data={"x": x[:3], "y": y[:3], "lengths": lengths[:3]},
        )  # fmt: skip
        assert history["worst"] == [pytest.approx(expected, rel=1e-12)] * 2
        assert history["val_worst"][0] == pytest.approx(np.abs(pred - y)[:3][valid[:3]].max())
        assert list(history) == ["loss", "worst", "val_loss", "val_worst", "lr"]

    @pytest.mark.parametrize(
        "metrics", [{"loss": max}, {"val_loss": max}, {"lr": max}, [max, max], [3], {"a": 3}]
    )
    def test_impossible_metrics(self, metrics):
        with pytest.raises(rr.ConfigError, match="metric"):
            make_trainer(metrics=metrics)

    @pytest.mark.parametrize(
        "value", [None, "0.5", [0.5], np.ones(3), np.ones((1, 1)), np.array([None]), {}, 1j]
    )
    def test_what_is_no_number_is_named(self, value):
        x, y = arrays()
        metrics = {"mae": rr.metrics.mean_absolute_error, "mine": lambda pred, target: value}
        trainer = make_trainer(metrics=metrics)
        with pytest.raises(rr.DtypeError, match="metric 'mine' must return a number, got "):
            trainer.evaluate(x, y)
        with pytest.raises(rr.DtypeError, match="metric 'mine' must return a number, got "):
            trainer.fit(x, y, epochs=1, verbose=0)
        assert (trainer.epoch, trainer.history.epochs) == (0, [])

    @pytest.mark.parametrize(
        "value", [3, True, np.float32(3), np.array(3), np.bool_(1), Fraction(3), math.nan]
    )
    def test_numbers_of_any_kind(self, value):
        trainer = make_trainer(metrics={"mine": lambda pred, target: value})
        np.testing.assert_equal(trainer.evaluate(*arrays())["mine"], float(value))


class TestValidation:
    def test_split_takes_the_last_samples_before_shuffling(self):
        x, y = arrays(10)
        recorder = Recorder()
        trainer = make_trainer(rr.Sequential(recorder, *network()))
        history = trainer.fit(x, y, epochs=2, batch_size=3, validation_split=0.3, verbose=0)
        trained = np.concatenate([batch for batch, training in recorder.seen if training])
        validated = np.concatenate([batch for batch, training in recorder.seen if not training])
        assert set(trained[:, 0, 0]) == set(x[:7, 0, 0])
        np.testing.assert_array_equal(validated, np.concatenate([x[7:], x[7:]]))
        assert history["val_loss"][0] == pytest.approx(trainer.evaluate(x[7:], y[7:])["loss"])

    @pytest.mark.parametrize(
        ("samples", "split", "first"), [(10, 0.9, 1), (10, 0.7, 3), (7, 0.3, 4)]
    )
    def test_split_is_rounded_up_but_not_for_want_of_digits(self, samples, split, first):
        """10 * (1 - 0.9) is a little less than 1."""
        x, y = arrays(samples)
        recorder = Recorder()
        trainer = make_trainer(rr.Sequential(recorder, *network()))
        trainer.fit(x, y, epochs=1, validation_split=split, shuffle=False, verbose=0)
        seen = [batch for batch, training in recorder.seen if training]
        np.testing.assert_array_equal(np.concatenate(seen), x[:first])

    def test_split_takes_lengths_and_weights_along(self):
        x, y = arrays(10)
        lengths, weights = np.arange(10) % 5 + 1, np.arange(10.0) + 1
        trainer = make_trainer()
        history = trainer.fit(
            x, y, lengths=lengths, sample_weight=weights, validation_split=0.4, epochs=1, verbose=0
        )
        expected = trainer.evaluate(x[6:], y[6:], lengths=lengths[6:], sample_weight=weights[6:])
        assert history["val_loss"] == [expected["loss"]]
        expected = trainer.evaluate(x[:6], y[:6], lengths=lengths[:6], sample_weight=weights[:6])
        assert history["loss"] == [pytest.approx(expected["loss"])]

    def test_mapping_with_lengths_and_weights(self):
        x, y = arrays()
        given = {"x": x, "y": y, "lengths": [1, 2, 3, 4, 5, 0, 1], "sample_weight": np.arange(7.0)}
        trainer = make_trainer()
        history = trainer.fit(x, y, validation_data=given, epochs=1, verbose=0)
        assert history["val_loss"] == [trainer.evaluate(**given)["loss"]]

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"validation_split": 1.0}, r"in \[0, 1\), got 1.0"),
            ({"validation_split": -0.1}, r"in \[0, 1\), got -0.1"),
            ({"validation_split": 0.99}, "leaves one part empty"),
            ({"validation_split": 0.5, "validation_data": arrays()}, "exclude each other"),
            ({"validation_data": (1, 2, 3)}, "got 3 entries"),
            ({"validation_data": {"x": 1}}, r"got \['x'\]"),
            ({"validation_data": {"x": 1, "y": 2, "weights": 3}}, "'weights'"),
        ],
    )
    def test_impossible_validation(self, options, text):
        x, y = arrays()
        with pytest.raises(rr.ConfigError, match=text):
            make_trainer().fit(x, y, epochs=1, verbose=0, **options)


class TestShuffling:
    def order(self, trainer, recorder, **options):
        x = np.arange(20.0).reshape(20, 1, 1)
        recorder.seen.clear()
        trainer.fit(x, x, batch_size=6, verbose=0, **options)
        return np.concatenate([batch for batch, _ in recorder.seen])[:, 0, 0].reshape(-1, 20)

    def make(self, **options):
        recorder = Recorder()
        model = rr.Sequential(recorder, *network(inputs=1))
        return make_trainer(model, **options), recorder

    def test_depends_on_seed_and_epoch_alone(self):
        trainer, recorder = self.make(seed=1)
        first = self.order(trainer, recorder, epochs=3)
        for order in first:
            np.testing.assert_array_equal(np.sort(order), np.arange(20))
        assert len({tuple(order) for order in first}) == 3
        again, recorder = self.make(seed=1)
        np.testing.assert_array_equal(self.order(again, recorder, epochs=1)[0], first[0])
        rr.manual_seed(99)
        np.testing.assert_array_equal(self.order(again, recorder, epochs=2), first[1:])
        other, recorder = self.make(seed=2)
        assert not np.array_equal(self.order(other, recorder, epochs=1)[0], first[0])

    def test_can_be_switched_off(self):
        trainer, recorder = self.make()
        order = self.order(trainer, recorder, epochs=2, shuffle=False)
        np.testing.assert_array_equal(order, [np.arange(20)] * 2)

    def test_default_seed_follows_from_the_process_stream(self):
        seeds = []
        for seed in (1, 1, 2):
            rr.manual_seed(seed)
            seeds.append(make_trainer(seed=None).seed)
        assert seeds[0] == seeds[1] != seeds[2]
        rr.manual_seed(1)
        rr.Linear(1, 1)
        assert make_trainer(seed=None).seed != seeds[0]

    def test_draws_nothing_from_the_process_stream(self):
        x, y = arrays()
        rr.manual_seed(1)
        trainer = make_trainer(seed=None)
        before = rr.get_rng_state()
        trainer.fit(x, y, epochs=1, verbose=0)
        trainer.evaluate(x, y)
        assert rr.get_rng_state() == before


class TestModes:
    def test_u46_masks_are_drawn_after_validation(self):
        x, y = arrays(12)
        recorder = Recorder()
        trainer = make_trainer(rr.Sequential(rr.Dropout(0.5), *network(), recorder))
        rr.manual_seed(1)
        trainer.fit(x, y, epochs=2, batch_size=12, shuffle=False, validation_data=(x, y), verbose=0)
        (first, _), (validated, _), (second, _), (validated_again, _) = recorder.seen
        assert [training for _, training in recorder.seen] == [True, False, True, False]
        np.testing.assert_array_equal(validated, validated_again)
        assert not np.array_equal(first, second)
        assert not np.array_equal(second, validated)

    @pytest.mark.parametrize("call", ["fit", "evaluate", "predict", "train_step"])
    @pytest.mark.parametrize("fails", [False, True])
    def test_u46_each_layer_keeps_the_users_mode(self, call, fails):
        x, y = arrays()
        model = rr.Sequential(Recorder(), rr.Dropout(0.5), *network())
        model[1].eval()
        model[2].eval()
        modes = [layer.training for layer in model]
        assert modes == [True, False, False, True]
        trainer = make_trainer(model)
        x = x[:, :, :1] if fails else x
        arguments = {
            "fit": {"y": y, "epochs": 1, "verbose": 0, "validation_split": 0.5},
            "evaluate": {"y": y},
            "predict": {},
            "train_step": {"y": y},
        }[call]
        if fails:
            with pytest.raises(rr.ShapeError):
                getattr(trainer, call)(x, **arguments)
        else:
            getattr(trainer, call)(x, **arguments)
        assert [layer.training for layer in model] == modes
        expected = {"fit": True, "evaluate": False, "predict": False, "train_step": True}[call]
        assert model[0].seen[0][0].shape == x.shape if call != "fit" else True
        assert trainer.network[0] is model[0]
        assert fails or model[0].seen[0][1] is expected


class TestNonFinite:
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_loss(self, value):
        x, y = arrays()
        trainer = make_trainer(loss=BrokenLoss(value=value), lr=0.1)
        before = trainer.network.state_dict()
        with pytest.raises(rr.NonFiniteError, match=f"the loss is {value} in epoch 1, batch 0"):
            trainer.fit(x, y, epochs=1, verbose=0)
        with pytest.raises(rr.NonFiniteError, match=f"the loss is {value}; the weights"):
            trainer.train_step(x, y)
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, before[name])
        assert trainer.epoch == 0

    @pytest.mark.parametrize("clip_norm", [None, 1.0])
    def test_gradient_is_named(self, clip_norm):
        x, y = arrays()
        trainer = make_trainer(loss=BrokenLoss(gradient=math.nan), lr=0.1, clip_norm=clip_norm)
        before = trainer.network.state_dict()
        with pytest.raises(
            rr.NonFiniteError, match=r"the gradient of 0\.weight_ih_l0 is not finite in epoch 1"
        ):
            trainer.fit(x, y, epochs=1, verbose=0)
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    @pytest.mark.parametrize("index", [1, 5])
    def test_it_is_the_right_gradient_that_is_named(self, index):
        class Spoiling(BrokenLoss):
            def value_and_grad(self, pred, target):
                parameters[index].grad[...] = math.inf
                return 1.0, np.zeros_like(pred)

        model = network()
        parameters = list(model.parameters())
        name = [name for name, _ in model.named_parameters()][index]
        trainer = make_trainer(model, Spoiling(), lr=0.1)
        with pytest.raises(rr.NonFiniteError, match=f"the gradient of {name} is not finite"):
            trainer.train_step(*arrays())

    def test_gradients_beyond_the_range_of_squares_are_finite(self):
        x, y = arrays()
        model = network(dtype="float32")
        trainer = make_trainer(model, BrokenLoss(gradient=1e25), lr=1e-30, clip_norm=None)
        trainer.fit(x, y, epochs=1, verbose=0)
        assert trainer.epoch == 1

    def test_skipped_steps_are_counted_and_leave_no_trace(self):
        x, y = arrays(6)
        x[2] = np.nan
        options = {"batch_size": 2, "shuffle": False, "check_finite": False, "verbose": 0}
        trainer = make_trainer(lr=0.1, on_nonfinite="skip")
        history = trainer.fit(x, y, epochs=2, **options)
        rest = np.array([0, 1, 4, 5])
        clean = make_trainer(lr=0.1)
        expected = clean.fit(x[rest], y[rest], epochs=2, **options)
        assert history["loss"] == expected["loss"]
        assert history["skipped"] == [1.0, 1.0]
        assert "skipped" not in expected
        for name, array in clean.network.state_dict().items():
            np.testing.assert_array_equal(trainer.network.state_dict()[name], array)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("weighted", [True, False])
    @pytest.mark.parametrize(
        "layer",
        [
            lambda: rr.LSTM(2, 4, batch_first=True, dtype="float64", seed=1),
            lambda: rr.LSTM(2, 4, batch_first=True, dtype="float64", seed=1, clip=1.0),
            lambda: rr.LSTM(2, 4, batch_first=True, dtype="float64", seed=1, peephole=True),
            lambda: rr.GRU(2, 4, batch_first=True, dtype="float64", seed=1, clip=1.0),
            lambda: rr.RNN(2, 4, batch_first=True, dtype="float64", seed=1, nonlinearity="relu"),
            lambda: rr.RNN(2, 4, batch_first=True, dtype="float64", seed=1, clip=1.0),
            lambda: rr.Linear(2, 4, dtype="float64", seed=1),
        ],
    )
    def test_data_that_are_not_finite_never_reach_the_weights(self, layer, weighted, value):
        # Not even where the loss stays finite: gates saturate, and weights of 0 hide samples.
        x, y = arrays(4)
        x[1, 2, 0] = value
        weights = [1.0, 0.0, 1.0, 1.0] if weighted else None
        model = rr.Sequential(layer(), rr.Linear(4, 1, dtype="float64", seed=2))
        optimizer = rr.Adam(model.parameters(), lr=0.1)
        trainer = rr.Trainer(model, rr.MSELoss(), optimizer, on_nonfinite="skip", seed=0)
        before = model.state_dict()
        options = {"sample_weight": weights, "check_finite": False, "verbose": 0}
        assert trainer.fit(x, y, epochs=1, **options)["skipped"] == [1.0]
        assert optimizer.state_dict()["state"] == {}
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])
        with pytest.raises(rr.NonFiniteError, match=r"x is .* at row 1, step 2, column 0"):
            trainer.fit(x, y, epochs=1, verbose=0)
        trainer.on_nonfinite = "raise"
        with pytest.raises(rr.NonFiniteError, match="the weights are untouched"):
            trainer.fit(x, y, epochs=1, **options)
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    @pytest.mark.parametrize("accumulated", [1, 2])
    @pytest.mark.parametrize("on_nonfinite", ["raise", "skip"])
    def test_weights_that_left_the_range_are_named(self, on_nonfinite, accumulated):
        # The gradient is finite, its product with the rate isn't.
        x, y = np.full((16, 2), 1e4, np.float32), np.ones((16, 1), np.float32)
        model = rr.Sequential(rr.Linear(2, 1, seed=0))
        trainer = make_trainer(
            model, lr=1e38, on_nonfinite=on_nonfinite, accumulate_grad_batches=accumulated
        )
        batch = accumulated
        with pytest.raises(
            rr.NonFiniteError,
            match=rf"the loss is .* in epoch 1, batch {batch}, and 0\.weight itself is not finite",
        ) as caught:
            trainer.fit(x, y, epochs=5, batch_size=4, verbose=0)
        assert "untouched" not in str(caught.value)
        assert not np.isfinite(model[0].weight).all()
        assert trainer.epoch == 0

    def test_all_skipped(self):
        x, y = arrays()
        trainer = make_trainer(on_nonfinite="skip", loss=BrokenLoss(value=math.nan))
        history = trainer.fit(x, y, epochs=1, batch_size=3, verbose=0)
        assert math.isnan(history["loss"][0])
        assert history["skipped"] == [3.0]
        assert math.isnan(trainer.train_step(x, y))

    @pytest.mark.parametrize("validated", [True, False])
    @pytest.mark.parametrize(
        "schedule",
        [
            lambda optimizer: rr.ReduceLROnPlateau(optimizer, patience=0),
            lambda optimizer: rr.StepLR(optimizer, 1, 0.5),
        ],
    )
    def test_an_epoch_without_a_step_is_none_of_the_schedule(self, schedule, validated):
        x, y = arrays()
        loss = BrokenLoss(gradient=0.0)
        model = network()
        optimizer = rr.SGD(model.parameters(), lr=0.5)
        scheduler = schedule(optimizer)
        trainer = rr.Trainer(model, loss, optimizer, scheduler, on_nonfinite="skip", seed=0)
        options = {"validation_data": (x, y)} if validated else {}
        trainer.fit(x, y, epochs=1, verbose=0, **options)
        assert scheduler.step_count == 1
        before = (scheduler.state_dict(), optimizer.lr)
        loss.gradient = math.nan
        history = trainer.fit(x, y, epochs=2, verbose=0, **options)
        assert history["skipped"] == [1.0, 1.0]
        assert (scheduler.state_dict(), optimizer.lr) == before
        loss.gradient = 0.0
        trainer.fit(x, y, epochs=1, verbose=0, **options)
        assert scheduler.step_count == 2

    def test_validation_loss_may_be_anything(self):
        x, y = arrays()
        trainer = make_trainer()
        history = trainer.fit(
            x, y, validation_data=(x * np.nan, y), check_finite=False, epochs=1, verbose=0
        )
        assert math.isnan(history["val_loss"][0])


class Weighted:
    """A loss with a parameter of its own: its value is the factor times the mean square error."""

    def __init__(self, factor=2.0):
        self.factor = rr.Parameter(np.array([factor]), "factor")
        self.gradient = None

    def __call__(self, pred, target):
        return self.factor.data[0] * rr.MSELoss()(pred, target)

    def value_and_grad(self, pred, target):
        value, gradient = rr.MSELoss().value_and_grad(pred, target)
        self.factor.grad[...] += value if self.gradient is None else self.gradient
        return self.factor.data[0] * value, self.factor.data[0] * gradient


class TestParametersOutsideTheModel:
    @pytest.mark.parametrize("accumulated", [1, 2])
    def test_their_gradients_are_those_of_the_step(self, accumulated):
        x, y = arrays(8)
        model, loss = network(), Weighted()
        optimizer = rr.SGD([*model.parameters(), loss.factor], lr=0.1)
        trainer = rr.Trainer(model, loss, optimizer, accumulate_grad_batches=accumulated, seed=0)
        options = {"batch_size": 4 // accumulated, "shuffle": False, "verbose": 0}
        loss.factor.grad[...] = 5.0  # left over by somebody
        trainer.fit(x, y, epochs=1, **options)
        by_hand, factor = network(), 2.0
        for part in (slice(0, 4), slice(4, 8)):
            pred, cache = by_hand.forward_with_cache(x[part])
            value, gradient = rr.MSELoss().value_and_grad(pred, y[part])
            by_hand.zero_grad()
            by_hand.backward(factor * gradient, cache=cache)
            rr.SGD(by_hand.parameters(), lr=0.1).step()
            factor -= 0.1 * value
        assert loss.factor.data[0] == pytest.approx(factor, rel=1e-12)
        for name, array in by_hand.state_dict().items():
            np.testing.assert_allclose(model.state_dict()[name], array, rtol=1e-12, atol=1e-14)

    def test_they_are_clipped_and_checked(self):
        x, y = arrays()
        model, loss = network(), Weighted()
        optimizer = rr.SGD([*model.parameters(), loss.factor], lr=1.0)
        trainer = rr.Trainer(model, loss, optimizer, clip_norm=1e-3, seed=0)
        loss.gradient = 1e9
        trainer.train_step(x, y)
        assert loss.factor.data[0] == pytest.approx(2.0 - 1e-3, rel=1e-6)
        loss.gradient = math.nan
        before = model.state_dict()
        with pytest.raises(
            rr.NonFiniteError, match="the gradient of the optimizer's parameter 'factor' is not"
        ):
            trainer.train_step(x, y)
        assert loss.factor.data[0] == pytest.approx(2.0 - 1e-3, rel=1e-6)
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])


class TestClipping:
    def test_u59_norm_is_taken_over_all_parameters(self):
        # pred = 0, so dL/dpred = 2 * (0 - -2) = 4, dL/dw = 4 * 0.75 = 3 and dL/db = 4.
        model = rr.Sequential(rr.Linear(1, 1, dtype="float64", seed=1))
        model[0].weight, model[0].bias = [[0.0]], [0.0]
        trainer = make_trainer(model, lr=1.0, clip_norm=1.0)
        trainer.fit([[0.75]], [[-2.0]], epochs=1, verbose=0)
        np.testing.assert_allclose(model[0].weight, [[-0.6]], rtol=1e-6)
        np.testing.assert_allclose(model[0].bias, [-0.8], rtol=1e-6)

    def test_small_gradients_stay(self):
        x, y = arrays()
        free, clipped = make_trainer(lr=0.1), make_trainer(lr=0.1, clip_norm=1e6)
        free.fit(x, y, epochs=2, verbose=0)
        clipped.fit(x, y, epochs=2, verbose=0)
        for name, array in free.network.state_dict().items():
            np.testing.assert_array_equal(clipped.network.state_dict()[name], array)

    @pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan, math.inf])
    def test_impossible_norms(self, clip_norm):
        with pytest.raises(rr.ConfigError, match="clip_norm"):
            make_trainer(clip_norm=clip_norm)


def scheduled(build, lr=0.1, **options):
    """Return a trainer whose schedule `build` makes of the optimizer."""
    model = network()
    optimizer = rr.SGD(model.parameters(), lr=lr)
    return rr.Trainer(model, rr.MSELoss(), optimizer, build(optimizer), seed=0, **options)


class Rates(rr.Callback):
    """Notes the rate after every batch."""

    def on_train_begin(self, trainer, epochs):
        self.rates = []

    def on_batch_end(self, trainer, batch, loss):
        self.rates.append(trainer.optimizer.lr)


class TestSchedules:
    @pytest.mark.parametrize("every", ["epoch", "batch"])
    def test_is_the_loop_by_hand(self, every):
        x, y = arrays()
        trainer = scheduled(
            lambda optimizer: rr.WarmupLR(optimizer, 2, 0.25, rr.StepLR(optimizer, 2, 0.5)),
            schedule_every=every,
        )
        trainer.fit(x, y, epochs=3, batch_size=3, shuffle=False, verbose=0)
        by_hand = network()
        loss, optimizer = rr.MSELoss(), rr.SGD(by_hand.parameters(), lr=0.1)
        rates = iter([0.025, 0.0625, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125])
        for _ in range(3):
            if every == "epoch":
                optimizer.lr = next(rates)
            for rows in (slice(0, 3), slice(3, 6), slice(6, 7)):
                if every == "batch":
                    optimizer.lr = next(rates)
                pred, cache = by_hand.forward_with_cache(x[rows])
                _, gradient = loss.value_and_grad(pred, y[rows])
                by_hand.zero_grad()
                by_hand.backward(gradient, cache=cache)
                optimizer.step()
        for name, array in by_hand.state_dict().items():
            np.testing.assert_allclose(trainer.network.state_dict()[name], array, rtol=1e-12)

    def test_u68_first_rate_governs_the_first_batch(self):
        x, y = arrays()
        trainer = scheduled(lambda optimizer: rr.WarmupLR(optimizer, 4, 0.1), lr=0.1)
        plain = make_trainer(lr=0.01)
        for one in (trainer, plain):
            history = one.fit(x, y, epochs=1, verbose=0)
            assert history["lr"] == [pytest.approx(0.01, rel=1e-12)]
        for name, array in plain.network.state_dict().items():
            np.testing.assert_allclose(trainer.network.state_dict()[name], array, rtol=1e-12)

    def test_rates_in_the_history_are_those_used_and_a_second_fit_goes_on(self):
        x, y = arrays()
        trainer = scheduled(lambda optimizer: rr.ExponentialLR(optimizer, 0.5))
        first = trainer.fit(x, y, epochs=2, batch_size=3, verbose=0)
        second = trainer.fit(x, y, epochs=3, batch_size=3, verbose=0)
        assert first["lr"] + second["lr"] == [0.1, 0.05, 0.025, 0.0125, 0.00625]
        assert trainer.scheduler.step_count == trainer.epoch == 5

    def test_a_step_for_every_batch(self):
        x, y = arrays()
        rates = Rates()
        trainer = scheduled(
            lambda optimizer: rr.ExponentialLR(optimizer, 0.5),
            lr=2.0,
            schedule_every="batch",
            callbacks=[rates],
        )
        history = trainer.fit(x, y, epochs=2, batch_size=3, verbose=0)
        assert history["lr"] == [2.0, 0.25]
        assert rates.rates == [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125]
        trainer.train_step(x, y)
        assert trainer.optimizer.lr == 0.015625

    def test_train_step_is_no_epoch(self):
        trainer = scheduled(lambda optimizer: rr.ExponentialLR(optimizer, 0.5))
        trainer.train_step(*arrays())
        assert trainer.optimizer.lr == 0.1

    def test_plateau_gets_the_validation_loss_or_the_loss(self):
        class Listening(rr.ReduceLROnPlateau):
            def step(self, metric=None):
                heard.append(metric)
                super().step(metric)

        x, y = arrays()
        for validated in (True, False):
            heard = []
            # Nothing is learned, so after the first epoch nothing improves.
            trainer = scheduled(
                lambda optimizer: Listening(optimizer, factor=0.5, patience=1), lr=1e-12
            )
            data = {"validation_data": (x[:2], y[:2])} if validated else {}
            trainer.scheduler.eps = 0.0
            history = trainer.fit(x, y, epochs=5, verbose=0, **data)
            assert heard == history["val_loss" if validated else "loss"]
            expected = [1e-12, 1e-12, 1e-12, 5e-13, 5e-13]
            np.testing.assert_allclose(history["lr"], expected, rtol=1e-12)

    def test_plateau_of_batches_gets_their_losses(self):
        x, y = arrays()
        trainer = scheduled(rr.ReduceLROnPlateau, schedule_every="batch")
        loss = trainer.train_step(x, y)
        assert trainer.scheduler.best == loss

    def test_skipped_steps_leave_no_trace_in_a_schedule_of_batches(self):
        x, y = arrays(6)
        x[2] = np.nan
        options = {"batch_size": 2, "shuffle": False, "check_finite": False, "verbose": 0}
        trainer = scheduled(
            lambda optimizer: rr.ExponentialLR(optimizer, 0.5),
            schedule_every="batch",
            on_nonfinite="skip",
        )
        assert trainer.fit(x, y, epochs=2, **options)["skipped"] == [1.0, 1.0]
        clean = scheduled(
            lambda optimizer: rr.ExponentialLR(optimizer, 0.5), schedule_every="batch"
        )
        rest = np.array([0, 1, 4, 5])
        clean.fit(x[rest], y[rest], epochs=2, **options)
        assert trainer.optimizer.lr == clean.optimizer.lr == 0.1 * 0.5**4
        for name, array in clean.network.state_dict().items():
            np.testing.assert_array_equal(trainer.network.state_dict()[name], array)

    @pytest.mark.parametrize("every", ["epoch", "batch"])
    def test_interrupted_epochs(self, every):
        class Interrupting(rr.Callback):
            def on_batch_end(self, trainer, batch, loss):
                if trainer.epoch == 1 and batch == 1:
                    raise KeyboardInterrupt

        x, y = arrays()
        trainer = scheduled(
            lambda optimizer: rr.ExponentialLR(optimizer, 0.5),
            schedule_every=every,
            callbacks=[Interrupting()],
        )
        history = trainer.fit(x, y, epochs=3, batch_size=3, verbose=0)
        assert trainer.interrupted
        assert history.epochs == [1]
        steps = 1 if every == "epoch" else 5
        assert (trainer.epoch, trainer.scheduler.step_count) == (1, steps)
        trainer.callbacks = ()
        history = trainer.fit(x, y, epochs=1, batch_size=3, verbose=0)
        assert history["lr"] == [0.1 * 0.5**steps]

    def test_early_stopping_counts_the_epochs_that_were_trained(self):
        x, y = arrays()
        trainer = scheduled(
            lambda optimizer: rr.ExponentialLR(optimizer, 0.5),
            lr=0.0,
            callbacks=[rr.EarlyStopping("loss", patience=2)],
        )
        history = trainer.fit(x, y, epochs=9, shuffle=False, verbose=0)
        assert history.epochs == [1, 2, 3]
        assert trainer.scheduler.step_count == 3

    @pytest.mark.parametrize("every", ["epoch", "batch"])
    def test_a_copy_that_a_callback_made_goes_on_exactly(self, every):
        class Snapshots(rr.Callback):
            def on_epoch_end(self, trainer, epoch, values):
                kept, trainer.callbacks = trainer.callbacks, ()
                snapshots.append(pickle.dumps(trainer))
                trainer.callbacks = kept

        x, y = arrays(40)
        snapshots = []
        trainer = scheduled(
            lambda optimizer: rr.WarmupLR(optimizer, 3, after=rr.ReduceLROnPlateau(optimizer)),
            schedule_every=every,
            callbacks=[Snapshots()],
        )
        whole = trainer.fit(x, y, epochs=4, batch_size=8, verbose=0)
        resumed = pickle.loads(snapshots[1])
        assert resumed.scheduler.optimizer is resumed.optimizer
        rest = resumed.fit(x, y, epochs=2, batch_size=8, verbose=0)
        for name in ("loss", "lr"):
            assert rest[name] == whole[name][2:]
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(resumed.network.state_dict()[name], array)

    def test_a_function_is_a_factor(self):
        x, y = arrays()
        trainer = scheduled(lambda optimizer: lambda step: 1 / (1 + step))
        history = trainer.fit(x, y, epochs=4, verbose=0)
        np.testing.assert_allclose(history["lr"], [0.1, 0.05, 0.1 / 3, 0.025], rtol=1e-15)
        assert isinstance(trainer.scheduler, rr.LambdaLR)

    def test_a_schedule_of_ones_own(self):
        class Halving:
            def __init__(self, optimizer):
                self.target, self.metrics = optimizer, []

            def step(self, metric):
                self.metrics.append(metric)
                self.target.lr /= 2

            def state_dict(self):
                return {}

        x, y = arrays()
        trainer = scheduled(Halving)
        history = trainer.fit(x, y, epochs=3, verbose=0)
        assert history["lr"] == [0.1, 0.05, 0.025]
        assert trainer.scheduler.metrics == history["loss"]

    def test_of_an_optimizer_of_ones_own(self):
        class Signs:
            lr = 0.5

            def __init__(self, parameters):
                self.parameters = list(parameters)

            def step(self):
                for parameter in self.parameters:
                    parameter.assign(parameter.data - self.lr * np.sign(parameter.grad))

        model = network()
        optimizer = Signs(model.parameters())
        scheduler = rr.StepLR(optimizer, 1, 0.5)
        trainer = rr.Trainer(model, rr.MSELoss(), optimizer, scheduler)
        history = trainer.fit(*arrays(), epochs=3, verbose=0)
        assert history["lr"] == [0.5, 0.25, 0.125]

    def test_of_another_optimizer_is_refused(self):
        other = rr.SGD(network().parameters(), lr=0.1)
        with pytest.raises(rr.ConfigError, match="scheduler was built on another optimizer"):
            scheduled(lambda optimizer: rr.StepLR(other, 1))

    @pytest.mark.parametrize(
        ("scheduler", "text"),
        [
            (rr.StepLR, r"scheduler must be an instance such as rr\.StepLR.*got the class"),
            (3, r"scheduler must be such as rr\.StepLR\(.*with step, state_dict; got 3"),
            ("step", "scheduler must be such as .*got 'step'"),
            (rr.SGD([rr.Parameter(np.zeros(1))]), "scheduler.step must take one argument"),
        ],
    )
    def test_what_is_no_schedule(self, scheduler, text):
        with pytest.raises(rr.DtypeError, match=text):
            make_trainer(scheduler=scheduler)

    @pytest.mark.parametrize("every", ["step", None, 1])
    def test_impossible_steps(self, every):
        with pytest.raises(rr.ConfigError, match='schedule_every must be "epoch" or "batch", got'):
            make_trainer(schedule_every=every)

    def test_a_function_that_returns_no_factor(self):
        model = network()
        optimizer = rr.SGD(model.parameters(), lr=0.1)
        for wrong, error in ((lambda step: None, rr.DtypeError), (lambda step: -1, rr.ConfigError)):
            with pytest.raises(error, match="what lr_lambda returns"):
                rr.Trainer(model, rr.MSELoss(), optimizer, wrong)
            assert optimizer.lr == 0.1


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"epochs": 0}, "epochs must be at least 1, got 0"),
            ({"batch_size": 0}, "batch_size .* got 0"),
            ({"verbose": 3}, "verbose must be 0, 1 or 2, got 3"),
        ],
    )
    def test_impossible_options_of_fit(self, options, text):
        x, y = arrays()
        with pytest.raises(rr.ConfigError, match=text):
            make_trainer().fit(x, y, **{"epochs": 1, "verbose": 0, **options})

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"epochs": 1.5}, "epochs must be an integer of at least 1, got 1.5"),
            ({"epochs": True}, "epochs must be an integer of at least 1, got True"),
            ({"batch_size": "a"}, "batch_size must be an integer of at least 1, got 'a'"),
            ({"validation_split": "a"}, "validation_split must be a number, got 'a'"),
            ({"validation_data": 5}, r"validation_data must be \(x, y\) or a mapping, got int"),
        ],
    )
    def test_options_of_fit_of_the_wrong_kind(self, options, text):
        x, y = arrays()
        with pytest.raises(rr.DtypeError, match=text):
            make_trainer().fit(x, y, **{"epochs": 1, "verbose": 0, **options})

    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"seed": -1}, rr.ConfigError, "seed must be at least 0, got -1"),
            ({"seed": 2**64}, rr.ConfigError, f"seed must be at most {2**64 - 1}, got {2**64}"),
            ({"seed": 1.0}, rr.DtypeError, "seed must be an integer of at least 0, got 1.0"),
            ({"clip_norm": "a"}, rr.DtypeError, "clip_norm must be a number, got 'a'"),
            ({"clip_norm": True}, rr.DtypeError, "clip_norm must be a number, got True"),
            ({"clip_norm": 0}, rr.ConfigError, "clip_norm must be positive and finite, got 0"),
            ({"loss": rr.MSELoss}, rr.DtypeError, "loss must be an instance .*got the class"),
            ({"loss": len}, rr.DtypeError, r"loss must be such as .*with value_and_grad; got"),
            (
                {"callbacks": [rr.EarlyStopping("loss"), rr.ProgressBar]},
                rr.DtypeError,
                r"callbacks\[1\] must be an instance .*got the class .*ProgressBar",
            ),
            ({"callbacks": ["a"]}, rr.DtypeError, r"callbacks\[0\] must be .*on_train_begin"),
            ({"callbacks": rr.EarlyStopping()}, rr.DtypeError, "callbacks must be a list of"),
            ({"metrics": len}, rr.DtypeError, "metrics must be a list or mapping of names"),
        ],
    )
    def test_arguments_of_the_wrong_kind(self, options, error, text):
        with pytest.raises(error, match=text):
            make_trainer(**options)

    @pytest.mark.parametrize(
        ("optimizer", "text"),
        [
            (None, r"optimizer must be such as rr\.Adam\(.*with lr, step; got None"),
            (rr.Adam, r"optimizer must be an instance such as rr\.Adam\(.*got the class"),
        ],
    )
    def test_what_is_no_optimizer(self, optimizer, text):
        with pytest.raises(rr.DtypeError, match=text):
            rr.Trainer(network(), rr.MSELoss(), optimizer)

    def test_optimizer_of_another_model_is_refused(self):
        model = network()
        optimizer = rr.Adam(model.parameters())
        for other in (model.astype("float32"), copy.deepcopy(model)):
            with pytest.raises(rr.ConfigError, match=r"optimizer has none of .*model\.parameters"):
                rr.Trainer(other, rr.MSELoss(), optimizer)
        assert rr.Trainer(model, rr.MSELoss(), optimizer).optimizer is optimizer

    def test_part_of_the_parameters_or_an_optimizer_of_ones_own_will_do(self):
        class Signs:
            lr = 0.125

            def __init__(self, parameters):
                self.parameters = list(parameters)

            def step(self):
                for parameter in self.parameters:
                    parameter.assign(parameter.data - self.lr * np.sign(parameter.grad))

        x, y = arrays()
        for build in (Signs, lambda parameters: rr.SGD(parameters, lr=0.125)):
            model = network()
            before = model.state_dict()
            rr.Trainer(model, rr.MSELoss(), build(model[1].parameters())).train_step(x, y)
            np.testing.assert_array_equal(model[0].weight_ih_l0, before["0.weight_ih_l0"])
            assert not np.array_equal(model[1].weight, before["1.weight"])

    def test_impossible_options_of_the_trainer(self):
        with pytest.raises(rr.ConfigError, match=r'on_nonfinite .*"raise" or "skip"'):
            make_trainer(on_nonfinite="ignore")
        with pytest.raises(rr.ConfigError, match="reduction"):
            make_trainer(loss=rr.MSELoss(reduction="none"))

    def test_train_step_returns_the_loss_before_the_step(self):
        x, y = arrays()
        trainer = make_trainer(lr=0.1)
        before = trainer.evaluate(x, y)["loss"]
        assert trainer.train_step(x, y) == pytest.approx(before, rel=1e-12)
        assert trainer.evaluate(x, y)["loss"] < before
        assert trainer.epoch == 0


class TestHistory:
    def history(self):
        x, y = arrays()
        trainer = make_trainer(lr=0.1, metrics={"mean": lambda pred, target: pred.mean()})
        return trainer.fit(x, y, epochs=3, validation_split=0.5, verbose=0)

    def test_is_a_read_only_mapping(self):
        history = self.history()
        assert list(history) == ["loss", "mean", "val_loss", "val_mean", "lr"]
        assert len(history) == 5
        assert "loss" in history
        assert "skipped" not in history
        with pytest.raises(KeyError):
            history["accuracy"]
        with pytest.raises(TypeError):
            history["loss"] = []

    def test_pandas(self):
        history = self.history()
        frame = history.to_pandas()
        assert frame.index.name == "epoch"
        assert frame.index.tolist() == [1, 2, 3]
        assert frame["val_loss"].tolist() == history["val_loss"]
        assert frame.columns.tolist() == list(history)

    @pytest.mark.parametrize(
        ("loss", "val_loss", "scale"),
        [
            ([20.5, 1.0], [2.0, 2.0], "log"),
            ([2.0, 1.0], [20.5, 2.0], "log"),
            ([19.5, 1.0], [2.0, 2.0], "linear"),
            ([20.5, 1.0], [0.0, 2.0], "linear"),
            ([20.5, -1.0], [2.0, 2.0], "linear"),
        ],
    )
    def test_losses_of_many_magnitudes_have_a_logarithmic_axis(
        self, tmp_path, loss, val_loss, scale
    ):
        history = rr.History(["loss", "mean", "val_loss"])
        for epoch, (value, other) in enumerate(zip(loss, val_loss, strict=True), 1):
            history.append(epoch, {"loss": value, "mean": 10.0**epoch, "val_loss": other})
        losses, metric = history.plot(tmp_path / "curves.png").axes
        assert (losses.get_yscale(), metric.get_yscale()) == (scale, "linear")

    def test_plot(self, tmp_path):
        from matplotlib import pyplot as plt

        history = self.history()
        path = tmp_path / "curves.png"
        figure = history.plot(path)
        assert path.read_bytes().startswith(b"\x89PNG")
        assert not plt.get_fignums()
        loss, mean = figure.axes
        assert [axis.get_ylabel() for axis in figure.axes] == ["loss", "mean"]
        assert mean.get_xlabel() == "epoch"
        for axis, name in ((loss, "loss"), (mean, "mean")):
            for line, curve in zip(axis.get_lines(), (name, f"val_{name}"), strict=True):
                assert line.get_xdata().tolist() == [1, 2, 3]
                assert line.get_ydata().tolist() == history[curve]
        labels = [text.get_text() for text in loss.get_legend().get_texts()]
        assert labels == ["training", "validation"]
        shown = history.plot()
        assert plt.get_fignums() == [shown.number]
        plt.close(shown)

    def test_repr_is_a_table(self):
        history = rr.History(["loss", "lr"])
        history.append(1, {"loss": 0.5, "lr": 0.1})
        history.append(2, {"loss": 0.25, "lr": 0.1})
        assert repr(history).splitlines() == [
            "epoch  loss   lr",
            "    1   0.5  0.1",
            "    2  0.25  0.1",
        ]
        for epoch in range(3, 100):
            history.append(epoch, {"loss": 0.0, "lr": 0.0})
        lines = repr(history).splitlines()
        assert len(lines) == 14
        assert lines[7].split() == ["...", "...", "..."]
        assert lines[-1].split() == ["99", "0", "0"]

    def test_incomplete_epochs_are_not_recorded(self):
        history = rr.History(["loss", "lr"])
        with pytest.raises(KeyError):
            history.append(1, {"loss": 0.5})
        assert (history.epochs, history["loss"]) == ([], [])

    def test_pickle(self):
        history = self.history()
        restored = pickle.loads(pickle.dumps(history))
        assert dict(restored) == dict(history)
        assert restored.epochs == history.epochs


class TestProcess:
    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no module resource")
    def test_u88_memory_stays_flat(self):
        import resource

        # Once through these data, batches alone add up to 1.3 MB.
        generator = np.random.default_rng(0)
        x = generator.normal(size=(512, 20, 32)).astype(np.float32)
        y = x[:, -1, :1]
        model = rr.Sequential(
            rr.LSTM(32, 8, batch_first=True, return_sequences=False, seed=1), rr.Linear(8, 1)
        )

        class Failing(rr.Callback):
            def on_epoch_end(self, trainer, epoch, values):
                if epoch % 3 == 0:
                    raise ZeroDivisionError

        trainer = rr.Trainer(
            model, rr.MSELoss(), rr.Adam(model.parameters()), callbacks=[Failing()], seed=0
        )
        peaks = []
        for _ in range(30):
            with contextlib.suppress(ZeroDivisionError):
                trainer.fit(x, y, epochs=1, verbose=0)
            trainer.predict(x)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        per_megabyte = 1024**2 if sys.platform == "darwin" else 1024
        assert (peaks[-1] - peaks[9]) / per_megabyte < 4

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows can't send itself a Ctrl-C alone")
    def test_u102_interrupt_during_fit_keeps_the_best_weights(self):
        x, y = arrays(200, 50)
        weights = {}

        class Interrupting(rr.Callback):
            def on_epoch_end(self, trainer, epoch, values):
                weights[epoch] = trainer.network.state_dict()
                if epoch == 3:
                    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

        stopping = rr.EarlyStopping("loss", patience=10**9)
        trainer = make_trainer(lr=2.0, clip_norm=1.0, callbacks=[stopping, Interrupting()])
        history = trainer.fit(x, y, epochs=10**6, batch_size=20, verbose=0)
        assert trainer.interrupted
        assert history is trainer.history
        assert trainer.epoch >= 3
        assert len(trainer.history["loss"]) in (trainer.epoch, trainer.epoch - 1)
        assert all(layer.training for layer in trainer.network)
        best = int(np.argmin(trainer.history["loss"])) + 1
        assert stopping.best_epoch == best
        for name, array in trainer.network.state_dict().items():
            np.testing.assert_array_equal(array, weights[best][name])
        assert np.isfinite(trainer.predict(x)).all()
        trainer.callbacks = ()
        trainer.fit(x, y, epochs=1, verbose=0)

    def test_import_is_light(self):
        code = (
            "import sys, recurrust as rr; rr.data.windows; rr.testing.check_gradients; "
            "heavy = {'matplotlib', 'tqdm', 'pandas'} & set(sys.modules); "
            "assert not heavy, heavy; "
            "missing = [name for name in rr.__all__ if not hasattr(rr, name)]; "
            "assert not missing, missing"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


class TestCheckGradients:
    def test_finds_nothing_wrong_with_dropout(self):
        x, y = arrays(3, 4)
        model = rr.Sequential(rr.Dropout(0.25), *network(num_layers=2), rr.Dropout(0.5))
        before, state = model.state_dict(), rr.get_rng_state()
        for parameter in model.parameters():
            parameter.grad[...] = 2.0
        errors = rr.testing.check_gradients(model, x, y, rr.MSELoss(), mask=np.ones((3, 4), bool))
        assert set(errors) == {"x", *before}
        assert max(errors.values()) < 1e-7
        assert rr.get_rng_state() == state
        for name, parameter in model.named_parameters():
            np.testing.assert_array_equal(parameter.data, before[name])
            np.testing.assert_array_equal(parameter.grad, 2.0)

    def test_names_the_worst_place(self):
        class Wrong(Recorder):
            def backward(self, dy, *, cache):
                dy = dy.copy()
                dy[1, 2, 0] *= 1.001
                return dy

        x, y = arrays(3, 4)
        with pytest.raises(AssertionError, match=r"gradient of x\[1, 2, 0\] is .*relative error"):
            rr.testing.check_gradients(
                rr.Sequential(Wrong(), rr.Linear(2, 1, dtype="float64", seed=1)), x, y, rr.MSELoss()
            )

        class WrongBias(rr.Linear):
            def backward(self, dy, *, cache, input_grad=True):
                dx = super().backward(dy, cache=cache, input_grad=input_grad)
                dict(self.named_parameters())["bias"].grad[...] *= 1.001
                return dx

        with pytest.raises(AssertionError, match=r"gradient of bias\[0\] is .*relative error"):
            rr.testing.check_gradients(WrongBias(2, 1, dtype="float64", seed=1), x, y, rr.MSELoss())

    def test_nan_is_no_zero(self):
        class Nothing(Recorder):
            def backward(self, dy, *, cache):
                return dy * np.nan

        x, y = arrays(3, 4)
        model = rr.Sequential(Nothing(), rr.Linear(2, 1, dtype="float64", seed=1))
        with pytest.raises(AssertionError, match=r"x\[0, 0, 0\] is nan"):
            rr.testing.check_gradients(model, x, y, rr.MSELoss())

    @pytest.mark.parametrize("offset", [1e5, 1e9, 1e20])
    def test_a_loss_too_large_to_judge_by_is_refused(self, offset):
        x, y = arrays(3, 4)
        layer = rr.Linear(2, 1, dtype="float64", seed=1)
        # At 1e20 every difference is exactly zero, as this gradient is.
        loss = ShiftedLoss(offset, 0.0 if offset == 1e20 else 1.0 + 1e-6)
        with pytest.raises(rr.StateError, match=r"the loss \(1e\+\d+\) is too large against"):
            rr.testing.check_gradients(layer, x, y, loss)

    def test_errors_are_reported_with_their_rounding(self):
        x, y = arrays(3, 4)
        layer = rr.Linear(2, 1, dtype="float64", seed=1)
        errors = rr.testing.check_gradients(layer, x, y, ShiftedLoss(100.0, 1.0))
        assert min(errors.values()) > 0
        assert max(errors.values()) < 1e-7
        wrong = ShiftedLoss(0.0, 1.0 + 1e-6)
        errors = rr.testing.check_gradients(layer, x, y, wrong, tolerance=1e-5)
        assert list(errors.values()) == pytest.approx([1e-6] * 3, rel=1e-3)

    def test_rounding_does_not_excuse_a_small_gradient_that_is_wrong(self):
        class Path(Recorder):
            """A second layer whose parameter has next to no influence, and a wrong gradient."""

            def __init__(self, factor):
                super().__init__()
                self.factor = factor
                self.extra = rr.Parameter(np.zeros(1), "extra")

            def __call__(self, x):
                return x + 1e-11 * self.extra.data

            def backward(self, dy, *, cache):
                self.extra.grad[...] += self.factor * 1e-11 * dy.sum()
                return dy

            def named_parameters(self):
                return iter([("extra", self.extra)])

        x, y = arrays(3, 4)
        model = rr.Sequential(rr.Linear(2, 1, dtype="float64", seed=1), Path(3.0))
        with pytest.raises(rr.StateError, match=r"against the gradient of 1\.extra"):
            rr.testing.check_gradients(model, x, y, rr.MSELoss())

    def test_help_says_float64(self):
        assert "Models of dtype float64 only" in rr.testing.check_gradients.__doc__

    def test_single_precision_is_refused(self):
        x, y = arrays(3, 4)
        with pytest.raises(rr.DtypeError, match='astype\\("float64"\\)'):
            rr.testing.check_gradients(network(dtype="float32"), x, y, rr.MSELoss())
