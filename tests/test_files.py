"""Files: exact round trips, and nothing but an error from a damaged one."""

from __future__ import annotations

import json
import os
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurrust as rr
from recurrust import _core
from reference.process import run

ARRAYS = {
    "floats": np.linspace(-1, 1, 6, dtype="f4").reshape(2, 3),
    "doubles": np.array([[np.pi, np.nan], [np.inf, -0.0]]),
    "empty": np.zeros((0, 3), "f4"),
    "scalar": np.array(2.5),
    "ünïcode.name": np.arange(3, dtype="f8"),
}
METADATA = {"kind": "test", "text": 'quotes " and \\ and \n and ü', "empty": ""}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file.safetensors"
    _core.write_tensors(file, ARRAYS, METADATA)
    return file


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    rr.save(rr.Sequential(rr.LSTM(1, 2, seed=1), rr.Linear(2, 1, seed=2)), file)
    return file


def assert_intact(path: Path) -> None:
    arrays, metadata = _core.read_tensors(path)
    assert METADATA.items() <= metadata.items()
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()
        assert arrays[name].flags.writeable


def test_round_trip(path: Path) -> None:
    assert_intact(path)
    again = path.with_name("again")
    _core.write_tensors(str(again), dict(reversed(ARRAYS.items())), METADATA)
    assert again.read_bytes() == path.read_bytes()  # the same content, the same file
    assert sorted(os.listdir(path.parent)) == ["again", path.name]


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u1", "?"])
def test_every_dtype(dtype: str, tmp_path: Path) -> None:
    array = np.array([0, 1, 1, 0, 1], dtype)
    _core.write_tensors(tmp_path / "file", {"a": array, "strided": array[::2]}, {})
    arrays, _ = _core.read_tensors(tmp_path / "file")
    for name, expected in (("a", array), ("strided", array[::2])):
        assert arrays[name].dtype == expected.dtype
        np.testing.assert_array_equal(arrays[name], expected)


def test_any_layout_of_arrays(tmp_path: Path) -> None:
    base = np.arange(24.0).reshape(2, 3, 4)
    given = {
        "reversed": base[::-1, :, ::-1],
        "fortran": np.asfortranarray(base),
        "transposed": base.T,
        "spread": np.broadcast_to(np.float32(3), (2, 2)),
    }
    _core.write_tensors(tmp_path / "file", given, {})
    arrays, _ = _core.read_tensors(tmp_path / "file")
    for name, expected in given.items():
        np.testing.assert_array_equal(arrays[name], expected)


def test_the_format_is_safetensors(path: Path) -> None:
    """Read by hand: the header's length, the header in JSON, the data."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    assert METADATA.items() <= header.pop("__metadata__").items()
    assert header.keys() == ARRAYS.keys()
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        dtype = {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
        data = raw[8 + length + start : 8 + length + end]
        assert tuple(entry["shape"]) == ARRAYS[name].shape
        assert data == ARRAYS[name].astype(dtype).tobytes()


def test_every_truncation_is_refused(path: Path, model_file: Path) -> None:
    for file, read in ((path, _core.read_tensors), (model_file, rr.load)):
        raw = file.read_bytes()
        assert len(raw) < 4000
        for length in range(len(raw)):
            file.write_bytes(raw[:length])
            with pytest.raises(rr.FileFormatError, match=file.name):
                read(file)
        file.write_bytes(raw)
        read(file)


def test_every_changed_byte_is_noticed(path: Path, model_file: Path) -> None:
    rng = np.random.default_rng(7)
    for file, read in ((path, _core.read_tensors), (model_file, rr.load)):
        raw = file.read_bytes()
        for position in range(len(raw)):
            flip = {1 << int(rng.integers(8)), 0xFF, int(rng.integers(1, 256))}
            for bits in flip:
                broken = bytearray(raw)
                broken[position] ^= bits
                file.write_bytes(broken)
                with pytest.raises(rr.FileFormatError):
                    read(file)
        for surplus in (b"\0", b" ", raw[-8:], b"\0" * 1000):
            file.write_bytes(raw + surplus)
            with pytest.raises(rr.FileFormatError):
                read(file)


def test_many_changed_bytes_are_noticed(path: Path) -> None:
    rng = np.random.default_rng(8)
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(2000):
        broken = raw.copy()
        places = rng.integers(0, raw.size, rng.integers(1, 40))
        broken[places] = rng.integers(0, 256, places.size)
        if rng.random() < 0.3:
            start, end = sorted(rng.integers(0, raw.size, 2))
            broken = np.delete(broken, slice(start, end + 1))
        path.write_bytes(broken.tobytes())
        if broken.tobytes() == raw.tobytes():
            continue
        with pytest.raises(rr.FileFormatError):
            _core.read_tensors(path)


def with_header(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


FOREIGN = {
    "empty file": b"",
    "text": b"some text that is no model at all",
    "zeros": bytes(4096),
    "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
    "zip": b"PK\x03\x04" + bytes(100),
    "pickle": b"\x80\x05\x95\x00\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.",
    "header of exabytes": struct.pack("<Q", 2**63) + b"{}",
    "header of all bits": b"\xff" * 64,
    "header too long": struct.pack("<Q", 10**9) + b"{}",
    "no digest": with_header({"__metadata__": {"format": "recurrust"}}),
    "no digest, a tensor": with_header(
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "tensor of exabytes": with_header(
        {"a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}, bytes(4)
    ),
    "shape that overflows": with_header(
        {"a": {"dtype": "F32", "shape": [2**63, 4], "data_offsets": [0, 0]}}
    ),
    "negative offsets": with_header(
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, bytes(4)
    ),
    "deep JSON": with_header(b"[" * 100_000),
    "not UTF-8": with_header(b"\xff\xfe{}"),
    "a number": with_header(b"3"),
    "null": with_header(b"null"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "foreign"
    file.write_bytes(FOREIGN[kind])
    for read in (_core.read_tensors, rr.load):
        with pytest.raises(rr.FileFormatError, match="foreign"):
            read(file)


def test_refusing_takes_no_memory(tmp_path: Path) -> None:
    for kind, content in FOREIGN.items():
        (tmp_path / kind.replace(" ", "_")).write_bytes(content)
    program = f"""
import pathlib, resource
import recurrust as rr
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in pathlib.Path({str(tmp_path)!r}).iterdir():
    try:
        rr.load(file)
    except rr.FileFormatError:
        pass
    else:
        raise AssertionError(file)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    assert float(run(program)) < 20


def test_paths_that_can_not_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _core.read_tensors(tmp_path / "nothing")
    with pytest.raises(OSError, match="directory"):
        _core.read_tensors(tmp_path)
    with pytest.raises(FileNotFoundError):
        _core.write_tensors(tmp_path / "no folder" / "file", ARRAYS, {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        _core.write_tensors(tmp_path / "folder", ARRAYS, {})
    for bad in (None, 3, ["a"]):
        with pytest.raises(TypeError):
            _core.read_tensors(bad)
    for bad in ("nul\0byte", ""):
        with pytest.raises((OSError, ValueError)):
            _core.read_tensors(bad)
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == []


def test_a_failed_write_leaves_the_old_file(path: Path) -> None:
    good: dict[str, Any] = {"a": np.zeros(3)}
    for arrays, metadata in (
        ({"a": np.zeros(3, complex)}, {}),
        ({"a": np.zeros(3, object)}, {}),
        ({"a": np.array(["x"])}, {}),
        ({"a": np.zeros(3, "f2")}, {}),
        ({"a": np.zeros(3, "i4")}, {}),
        ({"a": np.zeros(3, ">f8")}, {}),
        ({"a": None}, {}),
        ({3: np.zeros(3)}, {}),
        (None, {}),
        ([np.zeros(3)], {}),
        (good, {"a": 3}),
        (good, {3: "a"}),
        (good, None),
    ):
        with pytest.raises((TypeError, ValueError)):
            _core.write_tensors(path, arrays, metadata)
        assert_intact(path)
    assert os.listdir(path.parent) == [path.name]


def test_a_full_device_leaves_the_old_file(path: Path) -> None:
    """The process may write no file larger than 64 KiB."""
    program = f"""
import resource, signal
import numpy as np
from recurrust import _core
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    _core.write_tensors({str(path)!r}, {{"a": np.zeros(100_000)}}, {{}})
except OSError as error:
    print(type(error).__name__)
"""
    assert run(program).strip() == "OSError"
    assert_intact(path)
    assert os.listdir(path.parent) == [path.name]


def test_a_reader_never_sees_half_a_file(path: Path) -> None:
    stop = threading.Event()
    contents = [{"a": np.full(size, float(size))} for size in (10, 30_000)]

    def write() -> None:
        for turn in range(150):
            _core.write_tensors(path, contents[turn % 2], {"turn": str(turn % 2)})
        stop.set()

    _core.write_tensors(path, contents[0], {"turn": "0"})
    thread = threading.Thread(target=write)
    thread.start()
    reads = 0
    while not stop.is_set():
        arrays, metadata = _core.read_tensors(path)
        np.testing.assert_array_equal(arrays["a"], contents[int(metadata["turn"])]["a"])
        reads += 1
    thread.join()
    assert reads > 3
    assert os.listdir(path.parent) == [path.name]


def test_permissions_are_those_of_any_new_file(path: Path) -> None:
    plain = path.with_name("plain")
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode
