"""Metrics: their values, and how a trainer finds them by name."""

from __future__ import annotations

import math

import numpy as np
import pytest

import recurrust as rr
from recurrust.metrics import accuracy, mean_absolute_error, root_mean_squared_error


class TestAccuracy:
    def test_classes(self):
        pred = [[0.1, 0.7, 0.2], [0.9, 0.3, 0.1], [1.0, 2.0, 3.0], [5.0, 4.0, 3.0]]
        assert accuracy(pred, [1, 0, 2, 1]) == 0.75
        assert accuracy(pred, [0, 1, 0, 1]) == 0.0

    def test_classes_of_every_step(self):
        rng = np.random.default_rng(0)
        pred, target = rng.normal(size=(3, 7, 4)), rng.integers(4, size=(3, 7))
        right = sum(
            int(np.argmax(pred[row, step]) == target[row, step])
            for row in range(3)
            for step in range(7)
        )
        assert accuracy(pred, target) == right / 21

    def test_negative_classes_are_left_out(self):
        pred = [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
        assert accuracy(pred, [1, -100, -1]) == 1.0
        assert math.isnan(accuracy(pred, [-1, -1, -1]))

    def test_probabilities_of_classes(self):
        pred = [[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]]
        assert accuracy(pred, [[0.6, 0.3, 0.1], [0.1, 0.6, 0.3]]) == 0.5
        assert accuracy(pred, [[1, 0, 0], [0, 0, 1]]) == 1.0

    def test_probabilities_may_be_rounded(self):
        target = np.full((1, 1000), 1e-3, np.float16)
        assert target.sum(dtype=float) != 1
        assert accuracy(np.arange(1000.0)[np.newaxis], target) == 0.0

    @pytest.mark.parametrize(
        ("row", "total"), [([1, 1, 0], 2), ([0, 0, 0], 0), ([0.5, 0.9, 0], 1.4)]
    )
    def test_several_labels_are_no_classes(self, row, total):
        with pytest.raises(rr.ConfigError, match=rf"one sums to {total}\. .*pred > 0"):
            accuracy(np.zeros((2, 3)), [[0, 1, 0], row])
        with pytest.raises(rr.ConfigError, match=f"one sums to {total}"):
            accuracy(np.zeros((1, 2, 3)), [[[0, 1, 0], row]])

    @pytest.mark.parametrize("shape", [(5,), (5, 1), (1, 5, 1)])
    def test_logits_of_yes(self, shape):
        pred = np.array([0.2, -0.2, 3.0, 0.0, -1.0]).reshape(shape)
        target = np.array([1.0, 0.0, 0.0, 0.0, 0.9]).reshape(shape)
        # 0.2 would be no if it were a probability.
        assert accuracy(pred, target) == 3 / 5
        assert accuracy(pred, target > 0.5) == 3 / 5

    def test_nan_is_wrong(self):
        nan = math.nan
        # The greatest entry of a row with NaN is where that is.
        assert accuracy([[nan, 1.0], [0.0, nan], [0.0, 1.0]], [0, 1, 1]) == 1 / 3
        assert accuracy([[nan], [-1.0]], [[0.0], [0.0]]) == 0.5

    def test_nothing_to_compare(self):
        assert math.isnan(accuracy(np.zeros((0, 3)), np.zeros(0, int)))

    @pytest.mark.parametrize(
        ("pred", "target"),
        [((4, 3), (3,)), ((4, 3), (4, 1)), ((4, 1), (4,)), ((4,), (4, 1)), ((4, 2, 3), (4, 3))],
    )
    def test_shapes_that_do_not_go_together(self, pred, target):
        with pytest.raises(rr.ShapeError) as error:
            accuracy(np.zeros(pred), np.zeros(target, int))
        assert f"pred has shape {pred}, target {target}" in str(error.value)

    def test_classes_that_are_no_integers(self):
        with pytest.raises(rr.DtypeError, match="classes as integers, got dtype float64"):
            accuracy(np.zeros((2, 3)), np.zeros(2))


class TestErrors:
    def test_values(self):
        pred, target = np.array([[1.0, 2.0], [3.0, -4.0]]), np.array([[1.0, 4.0], [0.0, -4.0]])
        assert mean_absolute_error(pred, target) == 1.25
        assert root_mean_squared_error(pred, target) == math.sqrt(13 / 4)

    def test_they_are_computed_in_float64(self):
        rng = np.random.default_rng(1)
        pred, target = rng.normal(size=(2, 10_000)).astype(np.float32)
        difference = pred.astype(np.float64) - target
        expected = math.sqrt(np.mean(difference**2))
        assert root_mean_squared_error(pred, target) == pytest.approx(expected, rel=1e-14)
        large = np.full(3, 3e38, dtype=np.float32)
        assert root_mean_squared_error(large, -large) == pytest.approx(6e38, rel=1e-6)
        assert mean_absolute_error(large, -large) == pytest.approx(6e38, rel=1e-6)

    @pytest.mark.parametrize("metric", [mean_absolute_error, root_mean_squared_error])
    def test_special_cases(self, metric):
        assert math.isnan(metric([1.0, math.nan], [1.0, 2.0]))
        assert metric([math.inf], [1.0]) == math.inf
        assert math.isnan(metric([], []))
        assert metric(np.uint8([1]), np.uint8([3])) == 2.0
        # One axis too many would be spread over all pairs.
        with pytest.raises(rr.ShapeError, match=r"got \(4, 1\) and \(4,\)"):
            metric(np.zeros((4, 1)), np.zeros(4))


class TestInTrainer:
    @staticmethod
    def make_trainer(metrics, loss=None, outputs=1):
        model = rr.Sequential(rr.Linear(3, outputs, seed=0))
        optimizer = rr.SGD(model.parameters(), lr=0.1)
        return rr.Trainer(model, loss or rr.MSELoss(), optimizer, metrics=metrics, seed=0)

    def test_by_name(self):
        rng = np.random.default_rng(2)
        x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 1))
        full = ["mean_absolute_error", "root_mean_squared_error"]
        trainer = self.make_trainer(["mae", "rmse", *full])
        history = trainer.fit(x, y, epochs=1, validation_split=0.5, verbose=0)
        assert {"mae", "val_mae", "rmse", "val_rmse"} <= set(history)
        measured = trainer.evaluate(x, y, batch_size=7)
        pred = trainer.predict(x)
        assert measured["mae"] == pytest.approx(np.abs(pred - y).mean(), rel=1e-6)
        assert measured["rmse"] == pytest.approx(math.sqrt(measured["loss"]), rel=1e-6)
        assert [measured[name] for name in full] == [measured["mae"], measured["rmse"]]

    def test_accuracy_of_classes_and_of_yes_and_no(self):
        rng = np.random.default_rng(3)
        x = rng.normal(size=(50, 3))
        many = self.make_trainer(["accuracy"], rr.CrossEntropyLoss(), outputs=4)
        classes = rng.integers(4, size=50)
        right = (many.predict(x).argmax(axis=1) == classes).mean()
        assert many.evaluate(x, classes)["accuracy"] == right
        two = self.make_trainer({"correct": "accuracy"}, rr.BCEWithLogitsLoss())
        truth = (rng.normal(size=(50, 1)) > 0).astype(np.float32)
        right = ((two.predict(x) > 0) == truth).mean()
        assert two.evaluate(x, truth)["correct"] == right

    def test_names_and_functions_together(self):
        def worst(pred, target):
            return np.abs(pred - target).max()

        trainer = self.make_trainer([rr.metrics.mean_absolute_error, worst, "rmse"])
        assert list(trainer.metrics) == ["mean_absolute_error", "worst", "rmse"]

    @pytest.mark.parametrize(
        ("metrics", "error", "text"),
        [
            (["f1"], rr.ConfigError, "no metric 'f1'; there are accuracy, mae, "),
            ({"a": "f1"}, rr.ConfigError, "no metric 'f1'"),
            ("accuracy", rr.DtypeError, "must be a list or mapping of names .* got 'accuracy'"),
            (["mae", "mae"], rr.ConfigError, "two metrics are named 'mae'"),
            (["loss"], rr.ConfigError, "can't be named 'loss'"),
            ([3], rr.ConfigError, "must be a name or a function of .* got 3"),
        ],
    )
    def test_what_is_no_metric(self, metrics, error, text):
        with pytest.raises(error, match=text):
            self.make_trainer(metrics)
