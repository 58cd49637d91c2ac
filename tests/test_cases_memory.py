"""Memory that other libraries never gave back."""

from __future__ import annotations

from reference.process import run

# Memory in use now, in MiB, after whatever can be freed has been.
PREAMBLE = """
import gc, resource
import numpy as np, recurrust as rr
def resident():
    gc.collect()
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() / 2**20
"""


def test_u85_memory_of_deleted_layers_returns() -> None:
    program = """
x = np.ones((2, 2, 512), np.float32)
for number in range(200):
    layer = rr.LSTM(512, 512)
    y, _, cache = layer.forward_with_cache(x)
    if number % 10 == 0:
        layer.backward(y, cache=cache)
    del layer, y, cache
    if number == 99:  # the allocator has what it keeps
        early = resident()
print(resident() - early)
"""
    assert float(run(PREAMBLE + program)) < 10


def test_u87_a_carried_state_keeps_no_history() -> None:
    program = """
layer = rr.LSTM(8, 32)
x = np.ones((1, 4, 8), np.float32)
state = None
for number in range(100_000):
    _, state = layer(x, state)
    if number == 10_000:
        early = resident()
after_steps = resident()
optimizer = rr.Adam(layer.parameters())
for number in range(2000):
    optimizer.zero_grad()
    y, state, cache = layer.forward_with_cache(x, state)
    layer.backward(y, cache=cache)
    optimizer.step()
    if number == 200:
        early_training = resident()
print(after_steps - early, resident() - early_training)
"""
    steps, training = map(float, run(PREAMBLE + program).split())
    assert steps < 2
    assert training < 2


def test_memory_is_flat_over_many_lengths() -> None:
    program = """
layer = rr.LSTM(8, 32, 2, bidirectional=True)
rng = np.random.default_rng(5)
for number in range(700):
    T, B = rng.integers(1, 50), rng.integers(1, 12)
    x = np.ones((T, B, 8), np.float32)
    y, _, cache = layer.forward_with_cache(x, lengths=rng.integers(0, T + 1, B))
    layer.backward(y, cache=cache)
    layer(x)
    if number == 300:
        early = resident()
print(resident() - early)
"""
    assert float(run(PREAMBLE + program)) < 5


def test_views_and_parameters_do_not_leak() -> None:
    program = """
for number in range(30_000):
    layer = rr.LSTM(4, 16)
    views = [(p.data, p.grad, p) for p in layer.parameters()]
    optimizer = rr.Adam(layer.parameters())
    optimizer.step()
    state = layer.state_dict()
    layer.load_state_dict(state)
    if number == 5000:
        early = resident()
print(resident() - early)
"""
    assert float(run(PREAMBLE + program)) < 5


def test_errors_do_not_leak() -> None:
    program = """
layer = rr.LSTM(64, 64)
x = np.ones((50, 16, 64), np.float32)
y, _, cache = layer.forward_with_cache(x)
for number in range(20_000):
    for call in (
        lambda: layer(x[:, :, :3]),
        lambda: layer(x, (x, x)),
        lambda: layer.backward(y[:3], cache=cache),
        lambda: layer(x, lengths=[51] * 16),
        lambda: setattr(layer, "weight_ih_l0", x),
    ):
        try:
            call()
        except ValueError:
            pass
        else:
            raise AssertionError("no error")
    if number == 2000:
        early = resident()
print(resident() - early)
"""
    assert float(run(PREAMBLE + program)) < 3
