"""Models in files, and the rebuilding that pickles use."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

import recurrust as rr
from recurrust import _core, serialization

X = np.random.default_rng(5).normal(size=(3, 6, 2))


def build(dtype="float64"):
    return rr.Sequential(
        rr.LSTM(2, 4, 2, batch_first=True, bidirectional=True, dtype=dtype, seed=1),
        rr.Dropout(0.5),
        rr.Linear(8, 3, dtype=dtype, seed=2),
    )


def edit(path, change):
    """Rewrite a file with its metadata and arrays changed; the digest is right again."""
    arrays, metadata = _core.read_tensors(str(path))
    change(arrays, metadata)
    _core.write_tensors(str(path), arrays, metadata)


def edit_model(path, change):
    def change_metadata(arrays, metadata):
        described = json.loads(metadata["model"])
        change(described)
        metadata["model"] = json.dumps(described)

    edit(path, change_metadata)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    rr.save(build(), path)
    return path


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_predictions_config_and_modes(self, tmp_path, dtype):
        model = build(dtype)
        model[0].eval()
        path = tmp_path / "model.safetensors"
        rr.save(model, path)
        restored = rr.load(path)
        assert isinstance(restored, rr.Sequential)
        assert restored.config == model.config
        assert restored.dtype == dtype
        assert [layer.training for layer in restored] == [False, True, True]
        x = X.astype(dtype)
        np.testing.assert_array_equal(restored.eval()(x), model.eval()(x))

    @pytest.mark.parametrize(
        "layer",
        [
            rr.LSTM(2, 3, bidirectional=True, merge_mode="mul", return_sequences=False, seed=1),
            rr.LSTMCell(2, 3, seed=1),
            rr.LSTM(2, 3, 2, peephole=True, clip=2.5, bidirectional=True, seed=1),
            rr.LSTM(2, 3, coupled=True, bias=False, seed=1),
            rr.PeepholeLSTMCell(2, 3, seed=1),
            rr.GRU(2, 3, clip=1.5, seed=1),
            rr.GRU(2, 3, 2, bidirectional=True, bias=False, seed=1),
            rr.GRUCell(2, 3, seed=1),
            rr.RNN(2, 3, reverse=True, nonlinearity="relu", seed=1),
            rr.RNNCell(2, 3, nonlinearity="relu", bias=False, seed=1),
            rr.Linear(2, 3, bias=False, seed=1),
            rr.Embedding(4, 3, seed=1),
            rr.Embedding(4, 3, padding_idx=2, seed=1),
            rr.LayerNorm(5, eps=1e-3),
            rr.Dropout(0.125),
            rr.Dropout(0.25, variational=True, batch_first=True),
            rr.Zoneout(0.25, 0.5, zoneout_eval="identity"),
        ],
        ids=lambda layer: type(layer).__name__,
    )
    def test_single_layers(self, tmp_path, layer):
        path = str(tmp_path / "layer")
        rr.save(layer.eval(), path)
        restored = rr.load(path)
        assert type(restored) is type(layer)
        assert restored.config == layer.config
        assert not restored.training
        for name, array in layer.state_dict().items():
            np.testing.assert_array_equal(restored.state_dict()[name], array)

    def test_u116_file_stands_for_itself_in_a_fresh_process(self, tmp_path):
        original = tmp_path / "original"
        original.mkdir()
        model = build().eval()
        rr.save(model, original / "model.safetensors")
        moved = tmp_path / "moved.bin"
        shutil.move(original / "model.safetensors", moved)
        shutil.rmtree(original)
        np.save(tmp_path / "x.npy", X)
        code = (
            "import numpy as np, recurrust as rr, sys; "
            "np.save(sys.argv[3], rr.load(sys.argv[1])(np.load(sys.argv[2])))"
        )
        arguments = [moved, tmp_path / "x.npy", tmp_path / "y.npy"]
        subprocess.run([sys.executable, "-W", "error", "-c", code, *arguments], check=True)
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model(X))

    def test_loading_draws_nothing_from_the_random_stream(self, saved):
        rr.manual_seed(3)
        before = rr.get_rng_state()
        rr.load(saved)
        pickle.loads(pickle.dumps(build()))
        assert rr.get_rng_state() == before

    def test_an_existing_file_is_replaced(self, saved):
        model = build()
        model[2].bias = [1.0, 2.0, 3.0]
        rr.save(model, saved)
        np.testing.assert_array_equal(rr.load(saved)[2].bias, [1.0, 2.0, 3.0])


class TestRefusals:
    def test_own_layer(self, tmp_path):
        class Identity:
            def __call__(self, x):
                return x

            def forward_with_cache(self, x):
                return x, None

            def backward(self, dy, *, cache):
                return dy

            def named_parameters(self):
                return iter(())

            def train(self):
                return self

            def eval(self):
                return self

        path = tmp_path / "model"
        with pytest.raises(rr.ConfigError, match=r"layer 1 \(Identity\).*pickle.*state_dict"):
            rr.save(rr.Sequential(rr.Linear(2, 2), Identity()), path)
        assert not path.exists()

    def test_foreign_file(self, saved, tmp_path):
        edit(saved, lambda arrays, metadata: metadata.update(format="something else"))
        with pytest.raises(rr.FileFormatError, match="does not hold a model of recurrust"):
            rr.load(saved)
        other = tmp_path / "other"
        other.write_bytes(b"nothing of the kind")
        with pytest.raises(rr.FileFormatError):
            rr.load(other)
        with pytest.raises(FileNotFoundError):
            rr.load(tmp_path / "missing")

    def test_newer_version(self, saved):
        edit(saved, lambda arrays, metadata: metadata.update(format_version="2"))
        with pytest.raises(rr.FileFormatError, match=r"format version '2'.*update recurrust"):
            rr.load(saved)

    @pytest.mark.parametrize(
        "change",
        [
            lambda model: model["layers"][0].update(kind="Unknown"),
            lambda model: model["layers"][0].update(kind="__class__"),
            lambda model: model["layers"][0]["config"].update(hidden_size=5),
            lambda model: model["layers"][0]["config"].update(hidden_size=-1),
            lambda model: model["layers"][0]["config"].update(unknown=1),
            lambda model: model["layers"][0]["config"].update(dtype="float32"),
            lambda model: model["layers"][0].pop("config"),
            lambda model: model["layers"].pop(),
            lambda model: model["layers"].clear(),
            lambda model: model.update(layers=None),
            lambda model: model.update(sequential=False),
            lambda model: model["layers"].__setitem__(0, 3),
        ],
    )
    def test_description_that_does_not_fit(self, saved, change):
        edit_model(saved, change)
        with pytest.raises(rr.FileFormatError, match="does not describe a model"):
            rr.load(saved)

    def test_description_that_is_no_json(self, saved):
        edit(saved, lambda arrays, metadata: metadata.update(model="{"))
        with pytest.raises(rr.FileFormatError, match="does not describe a model"):
            rr.load(saved)

    def test_missing_and_additional_arrays(self, saved):
        edit(saved, lambda arrays, metadata: arrays.pop("2.bias"))
        with pytest.raises(rr.FileFormatError, match="bias"):
            rr.load(saved)
        rr.save(build(), saved)
        edit(saved, lambda arrays, metadata: arrays.update({"3.bias": np.zeros(2)}))
        with pytest.raises(rr.FileFormatError, match=r"3\.bias"):
            rr.load(saved)


class Labelled(rr.LSTM):
    """A layer of one's own that keeps more than its base."""


class TestRebuilding:
    @pytest.mark.parametrize(
        "duplicate", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
    )
    def test_copies_keep_attributes_of_a_class_of_ones_own(self, duplicate):
        layer = Labelled(2, 3, seed=1)
        layer.label = ["first"]
        result = duplicate(layer)
        assert type(result) is Labelled
        assert result.label == ["first"]
        assert (result.label is layer.label) == (duplicate is copy.copy)
        np.testing.assert_array_equal(result.weight_ih_l0, layer.weight_ih_l0)

    def test_parameter_of(self):
        layer = rr.Linear(2, 3, seed=1)
        parameter = serialization._parameter_of(layer, "bias")
        assert parameter is dict(layer.named_parameters())["bias"]

    def test_rebuild_keeps_class_weights_and_mode(self):
        layer = rr.LSTM(2, 3, dtype="float64", seed=1)
        rebuilt = serialization._rebuild_layer(
            rr.LSTM, layer.config, layer.state_dict(), training=False
        )
        assert type(rebuilt) is rr.LSTM
        assert not rebuilt.training
        np.testing.assert_array_equal(rebuilt(X)[0], layer.eval()(X)[0])

    def test_rebuild_restores_attributes_of_a_class_of_ones_own(self):
        class Named(rr.LSTM):
            pass

        layer = Named(2, 3, seed=1)
        attributes = {"label": "first", "numbers": [1, 2]}
        rebuilt = serialization._rebuild_layer(
            Named, layer.config, layer.state_dict(), True, attributes
        )
        assert type(rebuilt) is Named
        assert vars(rebuilt) == attributes
        assert rebuilt.label == "first"
        np.testing.assert_array_equal(rebuilt.weight_ih_l0, layer.weight_ih_l0)
        for nothing in ((), (None,)):
            plain = serialization._rebuild_layer(
                rr.LSTM, layer.config, layer.state_dict(), True, *nothing
            )
            np.testing.assert_array_equal(plain.weight_ih_l0, layer.weight_ih_l0)
