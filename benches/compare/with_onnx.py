"""ONNX Runtime's and OpenVINO's side of every comparison, on one and the same model."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from sides import Arrays, Builders, Data, Side, UnavailableError, named

# Where each of ONNX's gates (LSTM i, o, f, c; GRU z, r, h) is in PyTorch's order.
_GATE_ORDER = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}
_STATES = {"LSTM": ["h", "c"], "GRU": ["h"], "RNN": ["h"]}


def model_of(data: Data, *, carried: bool = False) -> bytes:
    """Return a model of one layer: x to y and final states, from `carried` states or zero."""
    case = data.case
    if case.num_layers > 1 or case.bidirectional or case.dtype != "float32":
        raise UnavailableError("the model is written for one layer, one direction and float32")
    steps, batch, inputs, hidden = case.shape
    order, states = _GATE_ORDER[case.cell], _STATES[case.cell]

    def gates(name: str) -> NDArray[Any]:
        array = data.weights[name]
        return array.reshape(len(order), hidden, -1)[order].reshape(1, *array.shape)

    constants = {
        "W": gates("weight_ih_l0"),
        "R": gates("weight_hh_l0"),
        "B": np.concatenate([gates("bias_ih_l0"), gates("bias_hh_l0")], axis=1),
    }

    def tensor(name: str, *shape: int) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    initial = [f"{state}_0" for state in states] if carried else []
    final = [f"{state}_n" for state in states]
    # GRU as PyTorch has it: the reset gate acts on the finished product.
    attributes: dict[str, Any] = {"linear_before_reset": 1} if case.cell == "GRU" else {}
    node = onnx.helper.make_node(
        case.cell,
        ["x", "W", "R", "B", "", *initial],
        ["y", *final],
        hidden_size=hidden,
        **attributes,
    )
    graph = onnx.helper.make_graph(
        [node],
        "layer",
        [tensor("x", steps, batch, inputs), *(tensor(name, 1, batch, hidden) for name in initial)],
        [
            tensor("y", steps, 1, batch, hidden),
            *(tensor(name, 1, batch, hidden) for name in final),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    # Versions that every runtime of the last years reads.
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def _named(results: Sequence[NDArray[Any]]) -> Arrays:
    y, *states = results
    return named(y[:, 0], tuple(states))  # without the axis of directions


def _session(model: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _onnxruntime_inference(data: Data, threads: int) -> Side:
    run = _session(model_of(data), threads).run

    def call(x: NDArray[Any]) -> Any:
        return run(None, {"x": x})

    return Side(call, data.inputs, lambda: _named(call(data.inputs[0])))


def _onnxruntime_streaming(data: Data, threads: int) -> Side:
    """One call a step, its states those of the call before."""
    run = _session(model_of(data, carried=True), threads).run
    names = ["h_n", "c_n"]
    zeros = np.zeros((1, data.case.shape.batch, data.case.shape.hidden), np.float32)
    h, c = zeros, zeros

    def call(x: NDArray[Any]) -> Any:
        nonlocal h, c
        h, c = run(names, {"x": x, "h_0": h, "c_0": c})
        return h  # which is the output, too

    def outputs() -> Arrays:
        nonlocal h, c
        h, c = zeros, zeros
        for x in data.inputs:
            y = call(x)
        return {"y": y[0, 0]}

    return Side(call, data.inputs, outputs)


def _openvino_inference(data: Data, threads: int) -> Side:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model_of(data), b""),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Which cores it may use is for the caller to say.
            "ENABLE_CPU_PINNING": False,
        },
    )
    infer = compiled.create_infer_request().infer

    def call(x: NDArray[Any]) -> Any:
        # It reads the input in place and gives fresh outputs, as all others.
        return infer({"x": x}, share_inputs=True, share_outputs=False)

    def outputs() -> Arrays:
        results = call(data.inputs[0])
        arrays = [np.array(results[index]) for index in range(len(compiled.outputs))]
        return _named(arrays)

    return Side(call, data.inputs, outputs)


_BUILDERS: dict[str, dict[str, Callable[..., Side]]] = {
    "onnxruntime": {"inference": _onnxruntime_inference, "streaming": _onnxruntime_streaming},
    "openvino": {"inference": _openvino_inference},
}


def load(name: str, threads: int) -> Builders:
    """Return what one side can build, with this many threads."""
    importlib.import_module(name)  # tells at once whether it is there
    return {kind: partial(build, threads=threads) for kind, build in _BUILDERS[name].items()}
