"""Weights are views, inputs are read in place, outputs belong to the caller."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recurrust as rr
from recurrust import _core
from reference.comparison import assert_close
from reference.layers import outputs_of, randomize, reference_of


def address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


LAYERS: dict[str, Callable[[], Any]] = {
    "LSTM": lambda: rr.LSTM(3, 5, num_layers=2, bidirectional=True),
    "LSTM64": lambda: rr.LSTM(3, 5, dtype="float64"),
    "LSTMCell": lambda: rr.LSTMCell(3, 5),
    "Linear": lambda: rr.Linear(3, 5),
}


# ----------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("kind", LAYERS)
def test_weights_are_views_of_one_memory(kind: str) -> None:
    layer = LAYERS[kind]()
    for name, parameter in layer.named_parameters():
        view = getattr(layer, name)
        assert address(view) == address(getattr(layer, name)) == address(parameter.data)
        assert address(parameter.grad) == address(parameter.grad)
        assert view.dtype == layer.dtype
        assert view.flags.c_contiguous
        assert view.flags.aligned
        assert not np.shares_memory(view, parameter.grad)


@pytest.mark.parametrize("kind", LAYERS)
def test_weights_can_not_be_written_through_views(kind: str) -> None:
    layer = LAYERS[kind]()
    before = layer.state_dict()
    for name, parameter in layer.named_parameters():
        for view in (getattr(layer, name), parameter.data):
            with pytest.raises(ValueError, match="read-only"):
                view[...] = 1
            with pytest.raises(ValueError, match="read-only"):
                view += 1
            with pytest.raises(ValueError, match="output array is read-only"):
                np.add(view, 1, out=view)
            for derived in (view, view[:], view.T, view.reshape(-1), view.view(), np.asarray(view)):
                with pytest.raises(ValueError, match="WRITEABLE"):
                    derived.setflags(write=True)
                with pytest.raises(ValueError, match="WRITEABLE"):
                    derived.flags.writeable = True
            assert memoryview(view).readonly
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(layer, name), array)


@pytest.mark.parametrize(
    "optimizer",
    [rr.SGD, rr.Adam, rr.AdamW, rr.RMSprop, rr.Adagrad, rr.Adadelta, rr.NAdam, rr.RAdam],
)
def test_old_views_follow_the_optimizer_and_so_does_the_next_forward(
    optimizer: Any, rng: np.random.Generator
) -> None:
    layer = rr.LSTM(3, 5, dtype="float64")
    x = rng.normal(size=(4, 2, 3))
    views = {name: getattr(layer, name) for name, _ in layer.named_parameters()}
    before = layer.state_dict()
    y_before, _, cache = layer.forward_with_cache(x)
    layer.backward(np.ones_like(y_before), cache=cache)
    optimizer(layer.parameters(), lr=0.1).step()
    after = layer.state_dict()
    for name, view in views.items():
        np.testing.assert_array_equal(view, after[name])
        assert (view != before[name]).any(), name
        assert address(view) == address(getattr(layer, name))
    y, _ = layer(x)
    expected, _, _ = reference_of(layer).forward(x)
    assert_close(y, expected, 1e-12)
    assert np.abs(y - y_before).max() > 1e-3


def test_every_way_to_write_is_seen_by_views_and_by_the_next_forward(
    rng: np.random.Generator,
) -> None:
    layer = rr.LSTM(3, 5, dtype="float64")
    x = rng.normal(size=(4, 2, 3))
    view = layer.weight_hh_l0
    parameter = dict(layer.named_parameters())["weight_hh_l0"]

    def by_attribute(values: NDArray[Any]) -> None:
        layer.weight_hh_l0 = values

    def by_loading(values: NDArray[Any]) -> None:
        layer.load_state_dict({**layer.state_dict(), "weight_hh_l0": values})

    versions = {parameter.version}
    for write in (by_attribute, parameter.assign, by_loading):
        values = rng.normal(size=view.shape)
        layer(x)
        write(values)
        np.testing.assert_array_equal(view, values)
        assert address(layer.weight_hh_l0) == address(view)
        y, _ = layer(x)
        assert_close(y, reference_of(layer).forward(x)[0], 1e-12)
        assert parameter.version not in versions
        versions.add(parameter.version)


@pytest.mark.parametrize("kind", LAYERS)
def test_views_outlive_the_layer(kind: str) -> None:
    layer = LAYERS[kind]()
    parameters = list(layer.parameters())
    for parameter in parameters:
        parameter.grad[...] = 7.0
    views = {name: getattr(layer, name) for name, _ in layer.named_parameters()}
    gradients = [parameter.grad for parameter in parameters]
    copies = layer.state_dict()
    del layer, parameters, parameter
    gc.collect()
    others = [LAYERS[kind]() for _ in range(50)]  # would take the memory if it were free
    for other in others:
        for parameter in other.parameters():
            parameter.grad[...] = -1.0
    for name, view in views.items():
        np.testing.assert_array_equal(view, copies[name])
    for gradient in gradients:
        assert (gradient == 7.0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_assigning_from_its_own_view(dtype: str) -> None:
    layer = rr.Linear(6, 6, dtype=dtype)
    for take in (
        lambda view: view.T,
        lambda view: view[::-1],
        lambda view: view[:, ::-1],
        lambda view: np.broadcast_to(view[2], view.shape),
        lambda view: view,
    ):
        randomize(layer, np.random.default_rng(5))
        expected = take(layer.weight.copy()).copy()
        layer.weight = take(layer.weight)
        np.testing.assert_array_equal(layer.weight, expected)
        randomize(layer, np.random.default_rng(5))
        parameter = next(layer.parameters())
        parameter.assign(take(parameter.data))
        np.testing.assert_array_equal(layer.weight, expected)


def test_loading_from_its_own_views() -> None:
    layer = rr.LSTM(4, 4, num_layers=2)
    randomize(layer, np.random.default_rng(5))
    swapped = {
        name: getattr(layer, name[:-1] + "10"[int(name[-1])])[::-1]
        for name, _ in layer.named_parameters()
    }
    expected = {name: array.copy() for name, array in swapped.items()}
    layer.load_state_dict(swapped)
    for name, array in expected.items():
        np.testing.assert_array_equal(getattr(layer, name), array)


def test_state_dict_is_a_copy() -> None:
    layer = rr.LSTM(3, 4)
    state = layer.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    for array in state.values():
        array[...] = 5.0
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(layer, name), array)


# ------------------------------------------------------------------------------------------ inputs

T, B, INPUTS = 6, 5, 4


def big(rng: np.random.Generator, dtype: str) -> NDArray[Any]:
    return rng.normal(size=(2 * T, 2 * B, INPUTS)).astype(dtype)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    array = array.copy()
    array.flags.writeable = False
    return array


IN_PLACE: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "contiguous": lambda a: a[:T, :B].copy(),
    "first steps": lambda a: a[:T],
    "first rows": lambda a: a[:, :B],
    "inner block": lambda a: a[2 : 2 + T, 3 : 3 + B],
    "every other step": lambda a: a[::2],
    "every other row": lambda a: a[:, 1::2],
    "steps reversed": lambda a: a[::-1],
    "rows reversed": lambda a: a[:, ::-2],
    "both reversed": lambda a: a[::-2, ::-1],
    "axes exchanged": lambda a: a.transpose(1, 0, 2),
    "read-only": read_only,
    "one step repeated": lambda a: np.broadcast_to(a[:1], a.shape),
    "one row repeated": lambda a: np.broadcast_to(a[:, :1], a.shape),
    "wider features": lambda a: np.concatenate([a, a], axis=2)[..., :INPUTS],
    "later features": lambda a: np.concatenate([a, a], axis=2)[::-1, ::2, 2 : 2 + INPUTS],
    "one step": lambda a: a[3:4],
    "one row": lambda a: a[:, 3:4],
}


def misaligned(a: NDArray[Any]) -> NDArray[Any]:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


COPIED: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "features reversed": lambda a: a[..., ::-1],
    "every other feature": lambda a: np.repeat(a, 2, axis=2)[..., ::2],
    "Fortran order": np.asfortranarray,
    "other dtype": lambda a: a.astype("f4" if a.dtype == "f8" else "f8"),
    "half precision": lambda a: a.astype("f2"),
    "integers": lambda a: (a * 10).astype("i4"),
    "byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "misaligned": misaligned,
    "field of a record": lambda a: np.rec.fromarrays([a, a]).f1,
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", [*IN_PLACE, *COPIED])
def test_input_is_read_right_and_in_place_where_possible(
    way: str, dtype: str, batch_first: bool, rng: np.random.Generator
) -> None:
    layer = rr.LSTM(INPUTS, 7, dtype=dtype, batch_first=batch_first, bidirectional=True)
    x = {**IN_PLACE, **COPIED}[way](big(rng, dtype))
    flags = str(x.flags)
    before = x.copy()
    expected = layer(np.array(x, dtype, order="C"))
    copies = _core.input_copies()
    got = layer(x)
    assert _core.input_copies() - copies == (0 if way in IN_PLACE else 1)
    for name, array in outputs_of(*got).items():
        np.testing.assert_array_equal(array, outputs_of(*expected)[name])
    np.testing.assert_array_equal(x, before)
    assert str(x.flags) == flags


@pytest.mark.parametrize("way", [*IN_PLACE, *COPIED])
def test_training_reads_its_operands_right(way: str, rng: np.random.Generator) -> None:
    layer = rr.LSTM(INPUTS, INPUTS, dtype="float64")
    a = {**IN_PLACE, **COPIED}[way](big(rng, "float64"))
    plain = np.array(a, "float64", order="C")
    results = []
    for x in (a, plain):
        layer.zero_grad()
        y, _, cache = layer.forward_with_cache(x)
        dx, _ = layer.backward(x, cache=cache)
        results.append([y, dx, *(p.grad.copy() for p in layer.parameters())])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_states_are_read_in_place(rng: np.random.Generator) -> None:
    layer = rr.LSTM(INPUTS, 7, num_layers=2)
    x = rng.normal(size=(T, B, INPUTS)).astype("f4")
    _, state = layer(x)
    copies = _core.input_copies()
    layer(x, state)
    assert _core.input_copies() == copies
    h, c = state
    expected = layer(x, state)
    for other in (
        (np.asfortranarray(h), c[:, :, ::-1][:, :, ::-1]),
        (h.astype("f8"), c.astype("f8")),
        (list(h.tolist()), c.tolist()),
        [h, c],
    ):
        got = layer(x, other)
        for name, array in outputs_of(*got).items():
            np.testing.assert_array_equal(array, outputs_of(*expected)[name])


@pytest.mark.parametrize("kind", ["LSTMCell", "Linear"])
def test_other_layers_read_rows_in_place(kind: str, rng: np.random.Generator) -> None:
    layer = LAYERS[kind]()
    wide = rng.normal(size=(10, 8)).astype("f4")
    for x, copied in [
        (wide[:, :3], 0),
        (wide[::2, 2:5], 0),
        (wide[::-1, :3], 0),
        (wide[:, :6:2], 1),
        (wide[:, :3].astype("f8"), 1),
    ]:
        expected = layer(np.array(x, "f4", order="C"))
        copies = _core.input_copies()
        got = layer(x)
        assert _core.input_copies() - copies == copied
        np.testing.assert_array_equal(got, expected)


# ----------------------------------------------------------------------------------------- outputs


def test_outputs_belong_to_the_caller(rng: np.random.Generator) -> None:
    for return_sequences in (True, False):
        layer = rr.LSTM(3, 5, return_sequences=return_sequences)
        x = rng.normal(size=(6, 4, 3)).astype("f4")
        h0, c0 = rng.normal(size=(2, 1, 4, 5)).astype("f4")
        y, (h, c) = layer(x, (h0, c0))
        arrays = [y, h, c, x, h0, c0, *(p.data for p in layer.parameters())]
        for index, array in enumerate(arrays):
            for other in arrays[index + 1 :]:
                assert not np.shares_memory(array, other)
        kept = [array.copy() for array in (y, h, c)]
        for scale in range(20):  # later calls, other values
            layer(x * scale)
            layer.forward_with_cache(x * scale)
        for array, copy in zip((y, h, c), kept, strict=True):
            np.testing.assert_array_equal(array, copy)
            assert array.flags.writeable
            assert array.flags.c_contiguous
            array[...] = 9.0
        again, _ = layer(x, (h0, c0))
        np.testing.assert_array_equal(again, kept[0])


def test_outputs_outlive_everything(rng: np.random.Generator) -> None:
    layer = rr.LSTM(3, 5)
    x = rng.normal(size=(6, 4, 3)).astype("f4")
    y, (h, c), cache = layer.forward_with_cache(x)
    dx, (dh, dc) = layer.backward(y, cache=cache)
    arrays = [y, h, c, dx, dh, dc]
    copies = [array.copy() for array in arrays]
    del layer, x, cache, y, h, c, dx, dh, dc
    gc.collect()
    others = [rr.LSTM(3, 5)(np.ones((6, 4, 3), "f4")) for _ in range(50)]
    assert len(others) == 50
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_gradients_are_writable_views_in_place() -> None:
    layer = rr.LSTM(3, 5)
    parameter = next(layer.parameters())
    gradient = parameter.grad
    assert not gradient.any()
    gradient[...] = 2.0
    assert (parameter.grad == 2.0).all()
    y, _, cache = layer.forward_with_cache(np.ones((2, 1, 3), "f4"))
    layer.backward(y, cache=cache)
    np.testing.assert_array_equal(gradient, parameter.grad)
    assert (gradient != 2.0).any()
    layer.zero_grad()
    assert not gradient.any()


def test_operands_may_overlap_weights_and_gradients(rng: np.random.Generator) -> None:
    layer = rr.Linear(4, 4, dtype="float64")
    randomize(layer, rng)
    weight = next(layer.parameters())
    np.testing.assert_array_equal(layer(weight.data), layer(weight.data.copy()))
    x = rng.normal(size=(4, 4))
    _, cache = layer.forward_with_cache(x)
    start = rng.normal(size=(4, 4))
    weight.grad[...] = start
    dx = layer.backward(weight.grad, cache=cache)  # dy is what the result is added to
    np.testing.assert_allclose(weight.grad, start + start.T @ x, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dx, start @ layer.weight, rtol=1e-12, atol=1e-12)
    lstm = rr.LSTM(4, 1, dtype="float64")  # its input weights are (4, 4)
    np.testing.assert_array_equal(lstm(lstm.weight_ih_l0)[0], lstm(lstm.weight_ih_l0.copy())[0])
