"""The reference's options mean what is written: values by hand, and runs that must be equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reference import masks
from reference.cell import Array, Cell
from reference.comparison import assert_close
from reference.drawing import random_reference, random_states
from reference.gru import GRUCell, ReferenceGRU
from reference.lstm import LSTMCell, ReferenceLSTM
from reference.recurrent import ReferenceRecurrent, as_state, as_tuple
from reference.rnn import ReferenceRNN, RNNCell

Arrays = dict[str, Array]
T, B, INPUTS, H = 5, 3, 2, 4

PLAIN: dict[str, Cell] = {
    "LSTM": LSTMCell(),
    "GRU": GRUCell(),
    "GRU reset before": GRUCell(reset_after=False),
    "RNN": RNNCell(),
}
FULL: dict[str, Cell] = {
    "LSTM": LSTMCell(peephole=True, clip=0.9, proj_size=3, layer_norm=True),
    "LSTM coupled": LSTMCell(peephole=True, coupled=True, clip=0.9, proj_size=3, layer_norm=True),
    "GRU": GRUCell(clip=0.9, layer_norm=True),
    "GRU reset before": GRUCell(reset_after=False, clip=0.9),
    "RNN": RNNCell(clip=0.9, layer_norm=True),
    "RNN relu": RNNCell(nonlinearity="relu", layer_norm=True),
}
any_cell = pytest.mark.parametrize("cell", PLAIN.values(), ids=list(PLAIN))
any_full_cell = pytest.mark.parametrize("cell", FULL.values(), ids=list(FULL))
# What a mask's name may start with: all of them, at once.
EVERY_MASK = ("",)


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(a, float)))


def assert_same(got: Any, expected: Any) -> None:
    """Equal up to rounding: arrays, or tuples of arrays."""
    got, expected = as_tuple(got), as_tuple(expected)
    for index, (one, other) in enumerate(zip(got, expected, strict=True)):
        assert_close(one, other, 1e-13, f"part {index}")


def all_masks(rng: np.random.Generator, reference: ReferenceRecurrent, rate: float = 0.4) -> Arrays:
    return masks.draw(rng, reference.mask_shapes(T, B), EVERY_MASK, rate)


def cut(drawn: Arrays, times: slice | Array, rows: slice = np.s_[:]) -> Arrays:
    """The masks of some steps and rows; those of weights belong to all of them."""
    return {
        name: mask if name.startswith("weight") else mask[times, rows]
        for name, mask in drawn.items()
    }


def one_unit(cell: Cell, **parameters: Any) -> ReferenceRecurrent:
    """One input and one unit; parameters that aren't named are 0."""
    shapes = cell.parameter_shapes(1, 1, bias=True)
    values = {f"{name}_l0": np.zeros(shape) for name, shape in shapes.items()}
    for name, value in parameters.items():
        values[f"{name}_l0"].reshape(-1)[...] = value
    return ReferenceRecurrent(cell, values)


# ---------------------------------------------------------------------------------- values by hand


def sequence(*values: float) -> Array:
    return np.array(values).reshape(-1, 1, 1)


def test_all_weights_zero_halve_the_state() -> None:
    y, (_, c), _ = one_unit(LSTMCell()).forward(np.zeros((3, 1, 1)), (sequence(0), sequence(1)))
    assert_close(y, sequence(0.2310586, 0.1224593, 0.0621765), 1e-6)
    assert_close(c, sequence(0.125), 1e-15)
    y, _, _ = one_unit(GRUCell()).forward(np.zeros((3, 1, 1)), sequence(1))
    assert_close(y, sequence(0.5, 0.25, 0.125), 1e-15)


@pytest.mark.parametrize(
    ("peephole", "h", "c"),
    [
        (0.0, (0.3696064, -0.0001875), -0.0005396),
        # The output gate sees the new cell: with the old one h would be .3696064, -.0002648.
        (0.5, (0.3954495, 0.0024476), 0.0069123),
    ],
)
def test_peepholes(peephole: float, h: tuple[float, float], c: float) -> None:
    ones = one_unit(LSTMCell(peephole=True), weight_ih=1, weight_hh=1, peephole=peephole)
    y, (_, c_n), _ = ones.forward(sequence(1, -1))
    assert np.abs(y - sequence(*h)).max() < 6e-8
    assert abs(c_n.item() - c) < 6e-8


@pytest.mark.parametrize(
    ("reset_after", "h"), [(True, (0.5870123, 0.0217352)), (False, (0.5882861, 0.3729160))]
)
def test_both_resets(reset_after: bool, h: tuple[float, float]) -> None:
    cell = GRUCell(reset_after=reset_after)
    reference = one_unit(cell, weight_ih=1, weight_hh=1, bias_hh=[0, 0, 1])
    y, _, _ = reference.forward(sequence(1, -1), sequence(0.5))
    assert np.abs(y - sequence(*h)).max() < 6e-8


def test_gates_of_the_gru_are_r_z_n() -> None:
    y, _, _ = one_unit(GRUCell(), weight_ih=[1, 2, 3]).forward(sequence(0.5), sequence(1))
    assert_close(y, sequence(0.9744904), 1e-7)


def test_clip_of_the_lstm_holds_the_peephole_too() -> None:
    cell = LSTMCell(peephole=True, clip=0.5)
    reference = one_unit(cell, peephole=[9, -9, 9], bias_ih=[0, 0, 3, 0])
    _, (h, c), _ = reference.forward(sequence(0), (sequence(0), sequence(1)))
    expected_c = sigmoid(-0.5) + sigmoid(0.5) * np.tanh(0.5)
    assert_close(c, [[[expected_c]]], 1e-14)
    assert_close(h, [[[sigmoid(0.5) * np.tanh(expected_c)]]], 1e-14)


@pytest.mark.parametrize("reset_after", [True, False])
def test_clip_of_the_gru_holds_the_whole_candidate(reset_after: bool) -> None:
    """Large parts that nearly cancel are not clipped; large sums are."""
    r = z = sigmoid(0.5)
    cell = GRUCell(reset_after=reset_after, clip=0.5)
    near = one_unit(cell, bias_ih=[7, 7, 2], weight_hh=[0, 0, -3])
    y, _, _ = near.forward(sequence(0), sequence(1))
    assert_close(y, [[[(1 - z) * np.tanh(2 - 3 * r) + z]]], 1e-14)
    far = one_unit(cell, bias_ih=[7, 7, 4], weight_hh=[0, 0, -3])
    y, _, _ = far.forward(sequence(0), sequence(1))
    assert_close(y, [[[(1 - z) * np.tanh(0.5) + z]]], 1e-14)


@pytest.mark.parametrize(("nonlinearity", "h"), [("tanh", np.tanh(0.5)), ("relu", 0.5)])
def test_clip_of_the_rnn(nonlinearity: str, h: float) -> None:
    reference = one_unit(RNNCell(nonlinearity=nonlinearity, clip=0.5), weight_ih=1)
    y, _, _ = reference.forward(sequence(7))
    assert_close(y, sequence(h), 1e-14)


@any_cell
def test_update_dropout_acts_on_the_candidate(cell: Cell) -> None:
    """All pre-activations are 0 but the candidate's, which is 1; then gates are 1/2."""
    bias = {"LSTM": [0, 0, 1, 0], "GRU": [0, 0, 1], "RNN": [1]}
    name = type(cell).__name__.removesuffix("Cell")
    reference = one_unit(cell, bias_ih=bias[name])
    state = tuple(np.ones(shape) for shape in reference.state_shapes(1))
    y, _, _ = reference.forward(
        sequence(0), as_state(state), masks={"update_dropout_l0": sequence(4)}, training=True
    )
    m_g = 4 * np.tanh(1)
    expected = {"LSTM": 0.5 * np.tanh(0.5 + 0.5 * m_g), "GRU": 0.5 * m_g + 0.5, "RNN": m_g}
    assert_close(y, sequence(expected[name]), 1e-14)


# ------------------------------------------------------------------------- layer norm, spelled out


def normal(v: Array) -> Array:
    """One vector, normalised."""
    return (v - v.mean()) / np.sqrt(((v - v.mean()) ** 2).mean() + 1e-5)


def one_step(rng: np.random.Generator, cell: Cell) -> tuple[Arrays, Array, list[Array], Any]:
    """Parameters, operands and new state of one step of one row."""
    reference = random_reference(rng, cell, INPUTS, H)
    x, states = rng.normal(size=INPUTS), random_states(rng, reference, 1)
    _, new, _ = reference.forward(x[None, None], as_state(states))
    parameters = {name.removesuffix("_l0"): a for name, a in reference.parameters.items()}
    return parameters, x, [state[0, 0] for state in states], new


def test_layer_norm_of_the_lstm(rng: np.random.Generator) -> None:
    """What is carried, and what the peephole sees, is not normalised."""
    p, x, (h, c), new = one_step(rng, LSTMCell(layer_norm=True, peephole=True))
    a = normal(p["weight_ih"] @ x) * p["norm_ih"] + normal(p["weight_hh"] @ h) * p["norm_hh"]
    a_i, a_f, a_g, a_o = (a + p["bias_ih"] + p["bias_hh"]).reshape(4, H)
    p_i, p_f, p_o = p["peephole"].reshape(3, H)
    new_c = sigmoid(a_f + p_f * c) * c + sigmoid(a_i + p_i * c) * np.tanh(a_g)
    squashed = np.tanh(normal(new_c) * p["norm_cell"] + p["norm_cell_bias"])
    assert_same(new, ((sigmoid(a_o + p_o * new_c) * squashed)[None, None], new_c[None, None]))


def test_layer_norm_of_the_gru(rng: np.random.Generator) -> None:
    p, x, (h,), new = one_step(rng, GRUCell(layer_norm=True))
    u = normal(p["weight_ih"] @ x) * p["norm_ih"] + p["bias_ih"]
    v = normal(p["weight_hh"] @ h) * p["norm_hh"] + p["bias_hh"]
    (u_r, u_z, u_n), (v_r, v_z, v_n) = u.reshape(3, H), v.reshape(3, H)
    r, z = sigmoid(u_r + v_r), sigmoid(u_z + v_z)
    assert_same(new, ((1 - z) * np.tanh(u_n + r * v_n) + z * h)[None, None])


def test_layer_norm_of_the_rnn(rng: np.random.Generator) -> None:
    p, x, (h,), new = one_step(rng, RNNCell(layer_norm=True))
    a = normal(p["weight_ih"] @ x) * p["norm_ih"] + normal(p["weight_hh"] @ h) * p["norm_hh"]
    assert_same(new, np.tanh(a + p["bias_ih"] + p["bias_hh"])[None, None])


# ------------------------------------------------------------------------- runs that must be equal


def test_coupled_gates_are_those_of_opposite_weights(rng: np.random.Generator) -> None:
    """1 - sigmoid(a) = sigmoid(-a): f coupled to i is an f whose weights are those of -i."""
    coupled = random_reference(rng, LSTMCell(coupled=True, peephole=True), INPUTS, H)
    x = rng.normal(size=(T, B, INPUTS))

    def opposed(array: Array) -> Array:
        return np.concatenate([array[:H], -array[:H], array[H:]])

    plain = ReferenceLSTM(
        {name: opposed(array) for name, array in coupled.parameters.items()}, peephole=True
    )
    for got, expected in zip(coupled.forward(x)[:2], plain.forward(x)[:2], strict=True):
        assert_same(got, expected)


@any_full_cell
@pytest.mark.parametrize("mode", ["training", "expectation", "identity"])
def test_zoneout_mixes_what_entered_with_what_the_cell_made(
    cell: Cell, mode: str, rng: np.random.Generator
) -> None:
    zoneout = (0.3, 0.2) if len(cell.states) == 2 else 0.2
    evaluation = "expectation" if mode == "training" else mode
    reference = random_reference(rng, cell, INPUTS, H, zoneout=zoneout, zoneout_eval=evaluation)
    plain = ReferenceRecurrent(cell, reference.parameters)
    drawn = all_masks(rng, reference)
    x, states = rng.normal(size=(T, B, INPUTS)), random_states(rng, reference, B)
    names = ("zoneout_hidden", "zoneout_cell")
    keep = {
        "training": [drawn[f"{name}_l0"] for name in names if f"{name}_l0" in drawn],
        "expectation": [np.full(T, 0.2), np.full(T, 0.3)],
        "identity": [np.zeros(T), np.zeros(T)],
    }[mode][: len(states)]
    y, final, _ = reference.forward(
        x,
        as_state(states),
        masks={name: mask for name, mask in drawn.items() if name.startswith("zoneout")},
        training=mode == "training",
    )
    for t in range(T):
        _, new, _ = plain.forward(x[t : t + 1], as_state(states))
        states = tuple(
            k[t] * old + (1 - k[t]) * made
            for k, old, made in zip(keep, states, as_tuple(new), strict=True)
        )
        assert_same(y[t], states[0][0])
    assert_same(final, states)


@any_full_cell
def test_zoneout_of_everything_keeps_the_state(cell: Cell, rng: np.random.Generator) -> None:
    reference = random_reference(rng, cell, INPUTS, H)
    states = random_states(rng, reference, B)
    kept = masks.draw(rng, reference.mask_shapes(T, B), ("zoneout",), rate=1)
    y, final, _ = reference.forward(
        rng.normal(size=(T, B, INPUTS)), as_state(states), masks=kept, training=True
    )
    for got, expected in zip(as_tuple(final), states, strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(y, np.broadcast_to(states[0], y.shape))


@any_full_cell
def test_dropped_weights_and_inputs_are_other_weights_and_inputs(
    cell: Cell, rng: np.random.Generator
) -> None:
    reference = random_reference(rng, cell, INPUTS, H)
    drawn = all_masks(rng, reference)
    x = rng.normal(size=(T, B, INPUTS))
    chosen = {name: drawn[name] for name in ("input_dropout_l0", "weight_dropout_l0")}
    y, final, _ = reference.forward(x, masks=chosen, training=True)
    weights = reference.parameters["weight_hh_l0"] * drawn["weight_dropout_l0"]
    other = ReferenceRecurrent(cell, reference.parameters | {"weight_hh_l0": weights})
    expected_y, expected_final, _ = other.forward(x * drawn["input_dropout_l0"])
    assert_same(y, expected_y)
    assert_same(final, expected_final)


@any_full_cell
def test_constant_recurrent_dropout_scales_the_columns(
    cell: Cell, rng: np.random.Generator
) -> None:
    """What the state does beside the recurrent weights, as in z h, isn't dropped."""
    reference = random_reference(rng, cell, INPUTS, H)
    x, states = rng.normal(size=(T, 1, INPUTS)), as_state(random_states(rng, reference, 1))
    mask = rng.choice([0.0, 2.0], size=(1, 1, reference.state_shapes(1)[0][-1]))
    y, final, _ = reference.forward(x, states, masks={"recurrent_dropout_l0": mask}, training=True)
    weights = reference.parameters["weight_hh_l0"] * mask[0]
    other = ReferenceRecurrent(cell, reference.parameters | {"weight_hh_l0": weights})
    expected_y, expected_final, _ = other.forward(x, states)
    assert_same(y, expected_y)
    assert_same(final, expected_final)


@any_full_cell
def test_each_step_has_its_own_masks(cell: Cell, rng: np.random.Generator) -> None:
    reference = random_reference(rng, cell, INPUTS, H)
    drawn = all_masks(rng, reference)
    x, states = rng.normal(size=(T, B, INPUTS)), as_state(random_states(rng, reference, B))
    y, final, _ = reference.forward(x, states, masks=drawn, training=True)
    for t in range(T):
        step = np.s_[t : t + 1]
        y_t, states, _ = reference.forward(x[step], states, masks=cut(drawn, step), training=True)
        assert_same(y[step], y_t)
    assert_same(final, states)


@any_full_cell
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "average", "mul"])
def test_a_stack_is_its_directions_one_by_one(
    cell: Cell, merge_mode: str, rng: np.random.Generator
) -> None:
    """Each direction by itself, with its masks; merging and the stack's dropouts between them."""
    reference = random_reference(
        rng, cell, INPUTS, H, num_layers=2, bidirectional=True, merge_mode=merge_mode
    )
    drawn = all_masks(rng, reference)
    x, states = rng.normal(size=(T, B, INPUTS)), random_states(rng, reference, B)
    y, final, _ = reference.forward(x, as_state(states), masks=drawn, training=True)

    below, row = x, 0
    for layer in range(2):
        outputs = []
        for suffix in (f"_l{layer}", f"_l{layer}_reverse"):
            parameters = {
                name.removesuffix(suffix) + "_l0": array
                for name, array in reference.parameters.items()
                if name.endswith(suffix)
            }
            alone = ReferenceRecurrent(cell, parameters, reverse=suffix.endswith("reverse"))
            own = {
                name: drawn[name.replace("_l0", suffix)]
                for name in alone.mask_shapes(T, B)
                if name not in ("input_dropout_l0", "output_dropout")
            }
            own["input_dropout_l0"] = drawn[f"input_dropout_l{layer}"]
            part, state, _ = alone.forward(
                below,
                as_state(tuple(array[row : row + 1] for array in states)),
                masks=own,
                training=True,
            )
            for got, expected in zip(as_tuple(final), as_tuple(state), strict=True):
                assert_same(got[row : row + 1], expected)
            outputs.append(part)
            row += 1
        one, other = outputs
        below = {
            "concat": np.concatenate([one, other], axis=-1),
            "sum": one + other,
            "average": (one + other) / 2,
            "mul": one * other,
        }[merge_mode]
        below = below * drawn["dropout_l0" if layer == 0 else "output_dropout"]
    assert_same(y, below)


@any_full_cell
def test_output_dropout_touches_the_output_alone(cell: Cell, rng: np.random.Generator) -> None:
    for sequences in (True, False):
        reference = random_reference(
            rng, cell, INPUTS, H, bidirectional=True, return_sequences=sequences
        )
        x = rng.normal(size=(T, B, INPUTS))
        mask = all_masks(rng, reference)["output_dropout"]
        y, final, _ = reference.forward(x, masks={"output_dropout": mask}, training=True)
        plain_y, plain_final, _ = reference.forward(x)
        assert_same(y, plain_y * mask)
        assert_same(final, plain_final)


@any_full_cell
def test_backwards_is_forwards_on_the_reversed_sequence(
    cell: Cell, rng: np.random.Generator
) -> None:
    reverse = random_reference(rng, cell, INPUTS, H, reverse=True)
    forwards = ReferenceRecurrent(cell, reverse.parameters)
    drawn = all_masks(rng, reverse)
    x = rng.normal(size=(T, B, INPUTS))
    y, final, _ = reverse.forward(x, masks=drawn, training=True)
    turned = cut(drawn, np.s_[::-1])
    expected_y, expected_final, _ = forwards.forward(x[::-1], masks=turned, training=True)
    assert_same(y[::-1], expected_y)
    assert_same(final, expected_final)


# ---------------------------------------------------------------------- lengths, holes and resets


def stack_of(rng: np.random.Generator, cell: Cell) -> ReferenceRecurrent:
    return random_reference(rng, cell, INPUTS, H, num_layers=2, bidirectional=True)


@any_full_cell
def test_a_row_is_its_own_run(cell: Cell, rng: np.random.Generator) -> None:
    reference = stack_of(rng, cell)
    drawn = all_masks(rng, reference)
    x, states = rng.normal(size=(T, B, INPUTS)), random_states(rng, reference, B)
    lengths = [3, 0, T]
    y, final, _ = reference.forward(
        x, as_state(states), lengths=lengths, masks=drawn, training=True
    )
    for row, length in enumerate(lengths):
        one = np.s_[row : row + 1]
        y_row, final_row, _ = reference.forward(
            x[:length, one],
            as_state(tuple(state[:, one] for state in states)),
            masks=cut(drawn, np.s_[:length], one),
            training=True,
        )
        assert_same(y[:length, one], y_row)
        np.testing.assert_array_equal(y[length:, one], 0)
        assert_same(tuple(state[:, one] for state in as_tuple(final)), as_tuple(final_row))


@any_full_cell
def test_holes_are_left_out(cell: Cell, rng: np.random.Generator) -> None:
    reference = stack_of(rng, cell)
    drawn = all_masks(rng, reference)
    x = rng.normal(size=(T, B, INPUTS))
    valid = np.array([True, False, True, True, False])
    x[~valid] = np.nan
    y, final, _ = reference.forward(x, mask=np.tile(valid[:, None], B), masks=drawn, training=True)
    expected_y, expected_final, _ = reference.forward(
        x[valid], masks=cut(drawn, valid), training=True
    )
    assert_same(y[valid], expected_y)
    np.testing.assert_array_equal(y[~valid], 0)
    assert_same(final, expected_final)


@any_full_cell
def test_a_reset_starts_anew(cell: Cell, rng: np.random.Generator) -> None:
    """One direction: the steps before it, and then the steps from it on without a state."""
    reference = random_reference(rng, cell, INPUTS, H, num_layers=2)
    drawn = all_masks(rng, reference)
    x, states = rng.normal(size=(T, B, INPUTS)), as_state(random_states(rng, reference, B))
    resets = np.zeros((T, B), bool)
    resets[2] = True
    y, final, _ = reference.forward(x, states, resets=resets, masks=drawn, training=True)
    before, _, _ = reference.forward(x[:2], states, masks=cut(drawn, np.s_[:2]), training=True)
    after, last, _ = reference.forward(x[2:], masks=cut(drawn, np.s_[2:]), training=True)
    assert_same(y, np.concatenate([before, after]))
    assert_same(final, last)


# ------------------------------------------------------------------------------------------- masks


@any_full_cell
def test_masks_act_in_training_only(cell: Cell, rng: np.random.Generator) -> None:
    reference = stack_of(rng, cell)
    x = rng.normal(size=(T, B, INPUTS))
    y, final, _ = reference.forward(x, masks=all_masks(rng, reference))
    plain_y, plain_final, _ = reference.forward(x)
    np.testing.assert_array_equal(y, plain_y)
    for got, expected in zip(as_tuple(final), as_tuple(plain_final), strict=True):
        np.testing.assert_array_equal(got, expected)


@any_full_cell
def test_what_has_no_mask_does_nothing_in_training(cell: Cell, rng: np.random.Generator) -> None:
    reference = random_reference(rng, cell, INPUTS, H, zoneout=0.3)
    plain = ReferenceRecurrent(cell, reference.parameters)
    x = rng.normal(size=(T, B, INPUTS))
    for got, expected in zip(
        reference.forward(x, training=True)[:2], plain.forward(x)[:2], strict=True
    ):
        assert_same(got, expected)


def test_the_masks_of_a_network(rng: np.random.Generator) -> None:
    reference = random_reference(rng, LSTMCell(proj_size=3), INPUTS, H, num_layers=2)
    of_direction = {
        "recurrent_dropout": (T, B, 3),
        "update_dropout": (T, B, H),
        "weight_dropout": (4 * H, 3),
        "zoneout_hidden": (T, B, 3),
        "zoneout_cell": (T, B, H),
    }
    assert reference.mask_shapes(T, B) == {
        "input_dropout_l0": (T, B, INPUTS),
        "input_dropout_l1": (T, B, 3),
        "dropout_l0": (T, B, 3),
        "output_dropout": (T, B, 3),
        **{f"{name}_l0": shape for name, shape in of_direction.items()},
        **{f"{name}_l1": shape for name, shape in of_direction.items()},
    }


def test_drawn_masks_hold_what_they_say(rng: np.random.Generator) -> None:
    reference = random_reference(rng, LSTMCell(), INPUTS, H)
    for name, mask in all_masks(rng, reference, rate=0.75).items():
        values = {0.0, 1.0} if "zoneout" in name else {0.0, 4.0}
        assert set(mask.ravel()) == values
    for name, mask in all_masks(rng, reference, rate=1.0).items():
        assert (mask == ("zoneout" in name)).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"update_dropout_l1": np.ones((T, B, H))}, "no mask update_dropout_l1"),
        ({"zoneout_cell_l0": np.ones((T, B, H))}, "no mask zoneout_cell_l0"),
        ({"update_dropout_l0": np.ones((1, B, H))}, "update_dropout_l0 has the shape"),
        ({"recurrent_dropout_l0": np.ones((T, 1, H))}, "recurrent_dropout_l0 has the shape"),
    ],
)
def test_masks_that_do_not_fit_are_refused(
    given: Arrays, message: str, rng: np.random.Generator
) -> None:
    reference = random_reference(rng, GRUCell(), INPUTS, H)
    with pytest.raises(ValueError, match=message):
        reference.forward(np.zeros((T, B, INPUTS)), masks=given, training=True)


def test_options_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="reset_after"):
        GRUCell(reset_after=False, layer_norm=True)
    with pytest.raises(ValueError, match="nonlinearity"):
        RNNCell(nonlinearity="sigmoid")
    plain = random_reference(rng, LSTMCell(), INPUTS, H).parameters
    with pytest.raises(ValueError, match="parameters must be"):
        ReferenceLSTM(plain, peephole=True)
    with pytest.raises(ValueError, match="parameters must be"):
        ReferenceLSTM(plain | {"peephole_l0": np.zeros(3 * H)})
    with pytest.raises(ValueError, match="zip"):
        ReferenceRNN(random_reference(rng, RNNCell(), INPUTS, H).parameters, zoneout=(0.1, 0.2))
    with pytest.raises(ValueError, match="parameters must be"):
        ReferenceGRU(random_reference(rng, GRUCell(), INPUTS, H).parameters, layer_norm=True)
