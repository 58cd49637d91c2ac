"""Networks that others trained, with their weights: the same outputs as ONNX Runtime's."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import recurrust as rr
from reference.comparison import assert_close

Array = NDArray[Any]
Weights = dict[str, Array]

FOLDER = Path(__file__).parent / "pretrained"


def reader_of_chinese() -> tuple[Weights, Array, Array]:
    """The weights of g2pM's bidirectional LSTM, a sentence, and what ONNX Runtime makes of it."""
    with np.load(FOLDER / "g2pm_bilstm.npz") as archive:
        weights = dict(archive)
    return weights, weights.pop("x"), weights.pop("y")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_bidirectional_lstm(dtype: str) -> None:
    weights, x, expected = reader_of_chinese()
    layer = rr.LSTM(64, 32, bidirectional=True, dtype=dtype)
    layer.load_state_dict(weights)
    assert_close(layer(x)[0], expected, 2e-6)
    assert_close(layer.forward_with_cache(x)[0], expected, 2e-6)


def test_a_bidirectional_lstm_whose_sentence_is_padded() -> None:
    """Beside a longer one, and beside its own beginning, which it can't see the end of."""
    weights, x, expected = reader_of_chinese()
    layer = rr.LSTM(64, 32, bidirectional=True, batch_first=True)
    layer.load_state_dict(weights)
    batch = np.full((3, 30, 64), np.nan, np.float32)
    batch[0, :25] = batch[2, :25] = x
    batch[1] = np.concatenate([x, x[:5]])
    y, _ = layer(batch, lengths=[25, 30, 10])
    assert_close(y[0, :25], expected, 2e-6)
    assert not y[0, 25:].any()
    assert_close(y[2, :10, :32], expected[:10, :32], 2e-6)
    assert np.abs(y[2, :10, 32:] - expected[:10, 32:]).max() > 0.1


# ---------------------------------------------------------------- letters to phonemes, by two GRUs

LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
STRESSED = [vowel + stress for vowel in VOWELS.split() for stress in "012"]
PHONEMES = ["<pad>", "<unk>", "<s>", "</s>", *sorted([*CONSONANTS.split(), *STRESSED, "UW"])]
START, END = PHONEMES.index("<s>"), PHONEMES.index("</s>")

SENTENCE = """a i of the activationist recurrent network gate forgets nothing until tomorrow
morning backpropagation zoneout rhythms queue antidisestablishmentarianism xylophone"""
WORDS = SENTENCE.split()


def checkpoint() -> Weights:
    """The weights of the package g2p-en, which is not imported: it would download its data."""
    package = find_spec("g2p_en")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the package g2p-en, which has the weights, is not installed")
    with np.load(Path(package.submodule_search_locations[0]) / "checkpoint20.npz") as archive:
        return dict(archive)


def part_of(weights: Weights, which: str) -> Weights:
    """The parameters of the encoder (`enc`) or of the decoder (`dec`), without suffix."""
    pairs = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
    return {ours: weights[f"{which}_{theirs}"] for ours, theirs in pairs.items()}


def by_onnx_runtime(parameters: Weights) -> Any:
    """A function of x (T, B, I), lengths and h0 (1, B, H) that returns y (T, B, H) and h_n."""
    reason = "ONNX Runtime, which gives the expected values, is not installed (onnx, onnxruntime)"
    onnx = pytest.importorskip("onnx", reason=reason)
    runtime = pytest.importorskip("onnxruntime", reason=reason)
    hidden_size = parameters["weight_hh"].shape[1]

    def in_their_order(array: Array) -> Array:
        r, z, n = np.split(array, 3)
        return np.concatenate([z, r, n])

    theirs = {name: in_their_order(array) for name, array in parameters.items()}
    constants = {
        "W": theirs["weight_ih"][None],
        "R": theirs["weight_hh"][None],
        "B": np.concatenate([theirs["bias_ih"], theirs["bias_hh"]])[None],
    }
    inputs = ["X", "W", "R", "B", "sequence_lens", "initial_h"]
    options = {"hidden_size": hidden_size, "linear_before_reset": 1}
    node = onnx.helper.make_node("GRU", inputs, ["Y", "Y_h"], **options)
    float_type, int_type = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32

    def value(name: str, kind: int, *shape: str | int) -> Any:
        return onnx.helper.make_tensor_value_info(name, kind, shape)

    graph = onnx.helper.make_graph(
        [node],
        "gru",
        [
            value("X", float_type, "T", "B", parameters["weight_ih"].shape[1]),
            value("sequence_lens", int_type, "B"),
            value("initial_h", float_type, 1, "B", hidden_size),
        ],
        [
            value("Y", float_type, "T", 1, "B", hidden_size),
            value("Y_h", float_type, 1, "B", hidden_size),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def run(x: Array, lengths: Array, h0: Array) -> tuple[Array, Array]:
        feeds = {"X": x, "sequence_lens": lengths.astype(np.int32), "initial_h": h0}
        y, h = session.run(None, feeds)
        return y[:, 0], h

    return run


def embedded_words(weights: Weights) -> tuple[Array, Array]:
    """All words, (T, B, 256), and their lengths; what lies past the end of a word is not 0."""
    lengths = np.array([len(word) + 1 for word in WORDS])
    letters = np.zeros((max(lengths), len(WORDS)), int)
    for row, word in enumerate(WORDS):
        letters[: lengths[row], row] = [LETTERS.index(letter) for letter in [*word, "</s>"]]
    return weights["enc_emb"][letters], lengths


def encoder_of(weights: Weights) -> rr.GRU:
    layer = rr.GRU(256, 256)
    layer.load_state_dict({f"{name}_l0": a for name, a in part_of(weights, "enc").items()})
    return layer


def decoder_of(weights: Weights) -> rr.GRUCell:
    cell = rr.GRUCell(256, 256)
    cell.load_state_dict(part_of(weights, "dec"))
    return cell


def test_an_encoder_and_its_decoder() -> None:
    """Step by step, each with its own states: what one has said, the other must say too."""
    weights = checkpoint()
    x, lengths = embedded_words(weights)
    encode, decode = (by_onnx_runtime(part_of(weights, which)) for which in ("enc", "dec"))
    y, h = encoder_of(weights)(x, lengths=lengths)
    expected_y, expected_h = encode(x, lengths, np.zeros_like(h))
    assert_close(y, expected_y, 1e-5)
    assert_close(h, expected_h, 1e-5)

    cell, h = decoder_of(weights), h[0]
    last, ones = np.full(len(WORDS), START), np.ones(len(WORDS))
    for _ in range(20):
        said = weights["dec_emb"][last]
        h = cell(said, h)
        _, expected_h = decode(said[None], ones, expected_h)
        assert_close(h, expected_h[0], 1e-5)
        scores, expected_scores = (s @ weights["fc_w"].T + weights["fc_b"] for s in (h, expected_h))
        last = scores.argmax(axis=-1)
        np.testing.assert_array_equal(last, expected_scores[0].argmax(axis=-1))


def test_words_are_read_aloud() -> None:
    """Needs no other library: what comes out is a pronunciation, the one in g2p-en's own text."""
    weights = checkpoint()
    x, lengths = embedded_words(weights)
    _, h = encoder_of(weights)(x, lengths=lengths)
    cell, h, last = decoder_of(weights), h[0], np.full(len(WORDS), START)
    sounds = []
    for _ in range(20):
        h = cell(weights["dec_emb"][last], h)
        last = (h @ weights["fc_w"].T + weights["fc_b"]).argmax(axis=-1)
        sounds.append(last)
    spoken = {}
    for word, said in zip(WORDS, np.stack(sounds).T.tolist(), strict=True):
        end = said.index(END) if END in said else None
        spoken[word] = " ".join(PHONEMES[sound] for sound in said[:end])
    print(spoken)
    assert spoken["activationist"] == "AE2 K T IH0 V EY1 SH AH0 N IH0 S T"
