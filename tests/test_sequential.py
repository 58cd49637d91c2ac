"""Layers put together, and layers of the user's own among them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import recurrust as rr


class Doubling:
    """A layer with the bare protocol: no state, no options, one parameter."""

    def __init__(self, start=2.0, dtype=np.float64):
        self.factor = rr.Parameter(np.array([start], dtype=dtype), "factor")
        self.training = True

    def __call__(self, x):
        return x * self.factor.data

    def forward_with_cache(self, x):
        return self(x), x

    def backward(self, dy, *, cache):
        self.factor.grad[...] += (dy * cache).sum()
        return dy * self.factor.data

    def named_parameters(self):
        yield "factor", self.factor

    def train(self):
        self.training = True
        return self

    def eval(self):
        self.training = False
        return self


class RunningSum:
    """A recurrent layer of one's own: y[t] is the sum of x up to t, time-major."""

    batch_first = False

    def __call__(self, x, state=None):
        return self.forward_with_cache(x, state)[:2]

    def forward_with_cache(self, x, state=None):
        y = np.cumsum(x, axis=0) + (0 if state is None else state)
        return y, y[-1], None

    def backward(self, dy, dstate=None, *, cache):
        dy = dy.copy()
        if dstate is not None:
            dy[-1] += dstate
        dx = np.cumsum(dy[::-1], axis=0)[::-1]
        return dx, dx[0]

    def named_parameters(self):
        return iter(())

    def train(self):
        return self

    def eval(self):
        return self


class Failing(Doubling):
    """Fails on its way back, as an interrupt would."""

    def backward(self, dy, *, cache):
        raise KeyboardInterrupt


def build(dtype="float64", **options):
    options = {"batch_first": True, **options}
    return rr.Sequential(
        rr.LSTM(3, 4, dtype=dtype, seed=1, **options), rr.Linear(4, 2, dtype=dtype, seed=2)
    )


def gradients(model):
    return {name: parameter.grad.copy() for name, parameter in model.named_parameters()}


@pytest.fixture
def x():
    return np.random.default_rng(7).normal(size=(5, 6, 3))


class TestForward:
    def test_is_one_layer_after_the_other(self, x):
        model = build()
        hidden, _ = model[0](x)
        np.testing.assert_array_equal(model(x), model[1](hidden))

    def test_states_go_in_and_out(self, x):
        model = build()
        whole, final = model(x, return_state=True)
        first, states = model(x[:, :2], return_state=True)
        assert states[1] is None
        second, states = model(x[:, 2:], state=states, return_state=True)
        np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-14)
        np.testing.assert_allclose(states[0][0], final[0][0], atol=1e-14)
        np.testing.assert_allclose(states[0][1], final[0][1], atol=1e-14)

    def test_lengths_and_mask_go_to_the_layers_that_take_them(self, x):
        model = rr.Sequential(Doubling(), *build())
        lengths = np.array([2, 6, 0, 3, 5])
        expected, _ = model[1](2 * x, lengths=lengths)
        np.testing.assert_array_equal(model(x, lengths), model[2](expected))
        mask = np.arange(6) < lengths[:, None]
        np.testing.assert_array_equal(model(x, mask=mask), model(x, lengths))
        assert not np.array_equal(model(x), model(x, lengths))

    def test_lengths_go_no_further_once_steps_are_gone(self, x):
        seen = []

        class Recording(Doubling):
            def __call__(self, x, lengths=None):
                seen.append(lengths)
                return super().__call__(x)

            def forward_with_cache(self, x, lengths=None):
                return self(x, lengths), x

        first, second, third = Recording(), Recording(), Recording()
        lstm = rr.LSTM(3, 4, batch_first=True, return_sequences=False, dtype="float64")
        model = rr.Sequential(first, rr.LSTM(3, 3, batch_first=True, dtype="float64"), second,
                              lstm, third)  # fmt: skip
        lengths = np.array([2, 6, 0, 3, 5])
        assert model(x, lengths).shape == (5, 4)
        assert [given is lengths for given in seen] == [True, True, False]
        assert seen[2] is None

    def test_caching_changes_nothing(self, x):
        model = build()
        y, _ = model.forward_with_cache(x, np.array([2, 6, 0, 3, 5]))
        np.testing.assert_array_equal(y, model(x, np.array([2, 6, 0, 3, 5])))
        y, states, _ = model.forward_with_cache(x, return_state=True)
        expected, expected_states = model(x, return_state=True)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(states[0][1], expected_states[0][1])

    def test_state_must_fit_the_layers(self, x):
        model = build()
        with pytest.raises(rr.ConfigError, match=r"one entry per layer \(2\), got 1"):
            model(x, state=[None])
        _, states = model(x, return_state=True)
        with pytest.raises(rr.ConfigError, match=r"state\[1\] must be None: layer 1 \(Linear\)"):
            model(x, state=[None, states[0]])

    def test_own_recurrent_layer(self):
        x = np.random.default_rng(1).normal(size=(4, 2, 3))
        model = rr.Sequential(RunningSum(), Doubling())
        y, states = model(x, return_state=True)
        np.testing.assert_allclose(y, 2 * np.cumsum(x, axis=0))
        np.testing.assert_allclose(states[0], x.sum(axis=0))
        continued = model(x, state=states)
        np.testing.assert_allclose(continued, y + 2 * x.sum(axis=0))


class TestBackward:
    def test_gradients_are_those_of_central_differences(self, x):
        model = rr.Sequential(
            rr.LSTM(3, 4, 2, bidirectional=True, batch_first=True, dtype="float64", seed=1),
            Doubling(1.5),
            rr.LSTM(8, 3, batch_first=True, return_sequences=False, dtype="float64", seed=2),
            rr.Linear(3, 2, dtype="float64", seed=3),
        )
        y = np.random.default_rng(2).normal(size=(5, 2))
        errors = rr.testing.check_gradients(model, x, y, rr.MSELoss(), lengths=[2, 6, 0, 3, 5])
        assert set(errors) == {"x", *(name for name, _ in model.named_parameters())}

    def test_without_input_gradient(self, x):
        model = build()
        y, cache = model.forward_with_cache(x)
        model.backward(np.ones_like(y), cache=cache)
        expected = gradients(model)
        model.zero_grad()
        assert model.backward(np.ones_like(y), cache=cache, input_grad=False) is None
        for name, gradient in gradients(model).items():
            np.testing.assert_allclose(gradient, expected[name], atol=1e-13)

    def test_gradients_of_states(self, x):
        model = build()
        _, states, cache = model.forward_with_cache(x, return_state=True)
        h, _ = states[0]
        dx, initial = model.backward(
            np.zeros((5, 6, 2)), cache=cache, dstates=[(np.ones_like(h), None), None]
        )
        assert initial[1] is None
        lstm = build()[0]
        y, _, own_cache = lstm.forward_with_cache(x)
        expected, (dh0, dc0) = lstm.backward(
            np.zeros_like(y), (np.ones_like(h), None), cache=own_cache
        )
        np.testing.assert_allclose(dx, expected, atol=1e-14)
        np.testing.assert_allclose(initial[0][0], dh0, atol=1e-14)
        np.testing.assert_allclose(initial[0][1], dc0, atol=1e-14)
        with pytest.raises(rr.ConfigError, match=r"dstates\[1\] must be None"):
            model.backward(np.zeros((5, 6, 2)), cache=cache, dstates=[None, h])

    def test_gradient_of_an_own_recurrent_layer(self):
        x = np.random.default_rng(1).normal(size=(3, 2, 1))
        model = rr.Sequential(RunningSum(), Doubling())
        y, _, cache = model.forward_with_cache(x, return_state=True)
        dx, dstates = model.backward(np.ones_like(y), cache=cache, dstates=[np.ones((2, 1)), None])
        np.testing.assert_allclose(dx[:, 0, 0], [7.0, 5.0, 3.0])
        np.testing.assert_allclose(dstates[0], np.full((2, 1), 7.0))

    def test_gradients_add_up(self, x):
        model = build()
        y, cache = model.forward_with_cache(x)
        model.backward(np.ones_like(y), cache=cache)
        once = gradients(model)
        model.backward(np.ones_like(y), cache=cache)
        for name, gradient in gradients(model).items():
            np.testing.assert_allclose(gradient, 2 * once[name], rtol=1e-12)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, rr.StateError])
    def test_a_failure_leaves_all_gradients_as_they_were(self, x, error):
        first = Failing() if error is KeyboardInterrupt else Doubling()
        model = rr.Sequential(first, *build())
        for parameter in model.parameters():
            parameter.grad[...] = 3.0
        y, cache = model.forward_with_cache(x)
        if error is rr.StateError:
            weight = model[1].weight_hh_l0
            model[1].weight_hh_l0 = weight + 1
        with pytest.raises(error):
            model.backward(np.ones_like(y), cache=cache)
        for gradient in gradients(model).values():
            np.testing.assert_array_equal(gradient, 3.0)

    def test_foreign_cache(self, x):
        model = build()
        y, _ = model.forward_with_cache(x)
        with pytest.raises(rr.DtypeError, match="cache must come from forward_with_cache"):
            model.backward(np.ones_like(y), cache=None)
        _, shorter = model[:1].forward_with_cache(x)
        with pytest.raises(rr.DtypeError, match="cache must come from forward_with_cache"):
            model.backward(np.ones_like(y), cache=shorter)


class TestConstruction:
    def test_batch_first_must_agree(self):
        with pytest.raises(
            rr.ConfigError,
            match=r"batch_first: layer 0 \(LSTM\) has batch_first=True, layer 2 \(LSTM\) has "
            "batch_first=False",
        ):
            rr.Sequential(rr.LSTM(3, 4, batch_first=True), rr.Dropout(), rr.LSTM(4, 4))

    def test_dtype_must_agree_where_there_are_parameters(self):
        with pytest.raises(
            rr.ConfigError,
            match=r"dtype: layer 1 \(LSTM\) has dtype='float64', layer 2 \(Linear\) has "
            "dtype='float32'",
        ):
            rr.Sequential(rr.Dropout(), rr.LSTM(3, 4, dtype="float64"), rr.Linear(4, 2))
        assert rr.Sequential(rr.Dropout(), rr.Linear(4, 2, dtype="float64")).dtype == "float64"

    def test_what_is_no_layer_is_refused(self):
        with pytest.raises(rr.ConfigError, match="at least one layer"):
            rr.Sequential()
        with pytest.raises(rr.DtypeError, match="layer 1 must be a layer"):
            rr.Sequential(rr.Dropout(), "Linear")
        with pytest.raises(rr.DtypeError, match="layer 0 must be a layer"):
            rr.Sequential(rr.Linear)
        with pytest.raises(rr.ConfigError, match=r"pass its layers.*\*inner"):
            rr.Sequential(build(), rr.Dropout())
        layer = rr.Linear(2, 2)
        with pytest.raises(rr.ConfigError, match="layer 1 occurs twice"):
            rr.Sequential(layer, layer)

    def test_layout(self):
        assert build().batch_first is True
        assert build(batch_first=False).batch_first is False
        assert rr.Sequential(rr.Linear(1, 1)).batch_first is False


class TestParameters:
    def test_names_and_identity(self):
        model = build()
        names = [name for name, _ in model.named_parameters()]
        assert names == [
            "0.weight_ih_l0", "0.weight_hh_l0", "0.bias_ih_l0", "0.bias_hh_l0", "1.weight",
            "1.bias",
        ]  # fmt: skip
        for (_, first), second in zip(model.named_parameters(), model.parameters(), strict=True):
            assert first is second

    def test_count(self):
        assert build().num_parameters == 4 * 4 * (3 + 4 + 2) + 2 * 4 + 2

    def test_zero_grad(self, x):
        model = build()
        y, cache = model.forward_with_cache(x)
        model.backward(np.ones_like(y), cache=cache)
        assert all(gradient.any() for gradient in gradients(model).values())
        model.zero_grad()
        assert not any(gradient.any() for gradient in gradients(model).values())

    def test_state_dict_is_a_copy_that_restores(self, x):
        model = build()
        expected = model(x)
        state = model.state_dict()
        for parameter in model.parameters():
            parameter.assign(np.zeros(parameter.shape))
        assert not model(x).any()
        assert state["0.weight_ih_l0"].any()
        model.load_state_dict(state)
        np.testing.assert_array_equal(model(x), expected)
        model.load_state_dict({name: array.tolist() for name, array in state.items()})
        np.testing.assert_array_equal(model(x), expected)

    def test_mismatches_are_listed_together_and_nothing_changes(self):
        model = build()
        before = model.state_dict()
        wrong = {name: array + 1 for name, array in before.items()}
        wrong["0.weight_hh_l0"] = np.zeros((32, 8))
        wrong["1.bias"] = np.zeros(3)
        wrong["2.weight"] = np.zeros((1, 2))
        del wrong["0.bias_ih_l0"]
        with pytest.raises(rr.ShapeError) as caught:
            model.load_state_dict(wrong)
        message = str(caught.value)
        for line in (
            "0.weight_hh_l0: expected (16, 4), got (32, 8)",
            "1.bias: expected (2,), got (3,)",
            "'2.weight': there is no such parameter",
            "0.bias_ih_l0: missing",
        ):
            assert line in message
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    def test_not_strict(self):
        model = build()
        before = model.state_dict()
        model.load_state_dict({"1.bias": [5.0, 6.0], "more": np.zeros(3)}, strict=False)
        np.testing.assert_array_equal(model[1].bias, [5.0, 6.0])
        np.testing.assert_array_equal(model[1].weight, before["1.weight"])
        with pytest.raises(rr.ShapeError, match=r"1\.weight"):
            model.load_state_dict({"1.bias": [0.0, 0.0], "1.weight": [1.0]}, strict=False)
        np.testing.assert_array_equal(model[1].bias, [5.0, 6.0])

    @pytest.mark.parametrize("values", [[1j, 2j], ["a", "b"], [None, None]])
    def test_only_real_numbers_are_loaded(self, values):
        model = build()
        before = model.state_dict()
        with pytest.raises(rr.DtypeError, match=r"1\.bias: expected real numbers, got dtype"):
            model.load_state_dict({**before, "0.bias_ih_l0": np.ones(16), "1.bias": values})
        np.testing.assert_array_equal(model[0].bias_ih_l0, before["0.bias_ih_l0"])

    def test_live_views_of_the_network_are_read_before_anything_is_written(self):
        model = rr.Sequential(
            rr.Linear(2, 2, bias=False, dtype="float64", seed=1),
            rr.Linear(2, 2, bias=False, dtype="float64", seed=2),
        )
        first, second = model[0].weight.copy(), model[1].weight.copy()
        model.load_state_dict({"0.weight": model[1].weight, "1.weight": model[0].weight})
        np.testing.assert_array_equal(model[0].weight, second)
        np.testing.assert_array_equal(model[1].weight, first)

    @pytest.mark.parametrize("mapping", [None, 3, [("1.bias", [0.0, 0.0])]])
    def test_what_is_no_mapping_is_refused(self, mapping):
        with pytest.raises(rr.DtypeError, match="mapping must map names of parameters to arrays"):
            build().load_state_dict(mapping)

    def test_ragged_values_and_wrong_dtypes_are_listed_with_all_else(self):
        model = build()
        before = model.state_dict()
        wrong = before | {
            "0.weight_hh_l0": [[1.0], [2.0, 3.0]],
            "0.bias_ih_l0": ["a"] * 16,
            "1.weight": np.zeros((2, 4), complex),
            "1.bias": [1.0],
        }
        with pytest.raises(rr.ShapeError) as caught:
            model.load_state_dict(wrong)
        assert str(caught.value).splitlines()[1:] == [
            "  0.weight_hh_l0: expected (16, 4), got no regular array",
            "  1.bias: expected (2,), got (1,)",
            "  0.bias_ih_l0: expected real numbers, got dtype <U1",
            "  1.weight: expected real numbers, got dtype complex128",
        ]
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])


class TestModes:
    def test_train_and_eval_reach_every_layer(self):
        own = Doubling()
        model = rr.Sequential(own, rr.LSTM(3, 4, dtype="float64"), rr.Dropout(0.5))
        assert model.training
        assert model.eval() is model
        assert not model.training
        assert not any(layer.training for layer in model)
        model[1].train()
        assert not model.training
        assert model.train() is model
        assert all(layer.training for layer in model)
        assert model.training


class TestCopies:
    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    def test_pickle(self, x, protocol):
        model = build(num_layers=2).eval()
        model[1].train()
        restored = pickle.loads(pickle.dumps(model, protocol))
        assert restored.config == model.config
        assert [layer.training for layer in restored] == [False, True]
        np.testing.assert_array_equal(restored(x), model(x))
        restored[1].bias = [9.0, 9.0]
        assert not np.array_equal(restored(x), model(x))

    def test_deepcopy_is_independent_and_copy_shares_layers(self, x):
        model = build()
        expected = model(x)
        deep, shallow = copy.deepcopy(model), copy.copy(model)
        assert shallow[0] is model[0]
        assert deep[0] is not model[0]
        np.testing.assert_array_equal(deep(x), expected)
        deep[1].bias = [9.0, 9.0]
        np.testing.assert_array_equal(model(x), expected)

    def test_an_optimizer_pickled_along_still_belongs_to_the_model(self, x):
        model = build()
        optimizer = rr.SGD(model.parameters(), lr=0.5)
        model, optimizer = pickle.loads(pickle.dumps((model, optimizer)))
        y, cache = model.forward_with_cache(x)
        model.backward(np.ones_like(y), cache=cache)
        before = model[1].bias.copy()
        optimizer.step()
        np.testing.assert_allclose(model[1].bias, before - 0.5 * 30, rtol=1e-12)

    def test_astype(self, x):
        model = build().eval()
        converted = model.astype("float32")
        assert converted.dtype == "float32"
        assert not converted.training
        y = converted(x.astype(np.float32))
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, model(x), atol=1e-6)
        assert model.dtype == "float64"
        with pytest.raises(rr.ConfigError, match=r"layer 0 \(Doubling\) has no method astype"):
            rr.Sequential(Doubling()).astype("float32")


class TestContainer:
    def test_length_index_slice_and_iteration(self, x):
        model = build()
        assert len(model) == 2
        assert list(model) == [model[0], model[1]]
        assert model[-1] is model[1]
        head = model[1:]
        assert isinstance(head, rr.Sequential)
        assert head[0] is model[1]
        with pytest.raises(IndexError):
            model[2]
        assert rr.Sequential(*model, rr.Dropout(0.0))[0] is model[0]

    def test_config(self):
        config = build().config
        assert [layer["kind"] for layer in config["layers"]] == ["LSTM", "Linear"]
        rebuilt = rr.LSTM(**config["layers"][0]["config"])
        assert rebuilt.config == config["layers"][0]["config"]

    def test_repr_shows_layers_shapes_and_count(self):
        text = repr(build())
        for part in ("(0) LSTM(3, 4", "(1) Linear(4, 2", "154 parameters", "float64"):
            assert part in text
