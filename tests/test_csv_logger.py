"""The history in a CSV file, also when a program was stopped and goes on."""

from __future__ import annotations

import csv
import errno
import os

import numpy as np
import pytest

import recurrust as rr


def make_trainer(path, seed=0, **options):
    model = rr.Sequential(rr.Linear(2, 1, seed=seed))
    optimizer = rr.SGD(model.parameters(), lr=0.01)
    return rr.Trainer(
        model, rr.MSELoss(), optimizer, callbacks=[rr.CSVLogger(path)], seed=seed, **options
    )


def problem():
    x = np.random.default_rng(0).normal(size=(20, 2))
    return x, x.sum(axis=1, keepdims=True)


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, [[float(value) for value in row] for row in rows]


def test_every_number_is_written_in_full(tmp_path):
    path = tmp_path / "folder/run.csv"
    metrics = {"worst, of all": lambda pred, target: float(np.abs(pred - target).max())}
    trainer = make_trainer(path, metrics=metrics)
    history = trainer.fit(*problem(), epochs=3, validation_split=0.5, verbose=0)
    header, rows = read(path)
    assert header == ["epoch", *history]
    assert "worst, of all" in header
    assert rows == [
        [epoch, *(history[name][epoch - 1] for name in history)] for epoch in history.epochs
    ]
    assert os.listdir(path.parent) == ["run.csv"]


def test_rows_are_there_after_every_epoch(tmp_path):
    path = tmp_path / "run.csv"
    counts = []
    counting = rr.LambdaCallback(on_epoch_end=lambda *arguments: counts.append(len(read(path)[1])))
    trainer = make_trainer(path)
    trainer.callbacks = (*trainer.callbacks, counting)
    trainer.fit(*problem(), epochs=3, verbose=0)
    assert counts == [1, 2, 3]


def test_a_second_fit_goes_on_and_another_trainer_starts_anew(tmp_path):
    path = tmp_path / "run.csv"
    trainer = make_trainer(path)
    first = trainer.fit(*problem(), epochs=2, verbose=0)
    second = trainer.fit(*problem(), epochs=1, verbose=0)
    assert read(path)[1] == [
        [epoch, loss, 0.01]
        for epoch, loss in zip((1, 2, 3), first["loss"] + second["loss"], strict=True)
    ]
    make_trainer(path, seed=1).fit(*problem(), epochs=1, verbose=0)
    assert [row[0] for row in read(path)[1]] == [1]


@pytest.mark.parametrize("torn", ["", "5", "5,0.1", "5,0.1,0.0", "5,0.1,0.01\n6,0.1,0.01\n"])
def test_epochs_that_are_yet_to_come_are_dropped(tmp_path, torn):
    path = tmp_path / "run.csv"
    trainer = make_trainer(path)
    trainer.fit(*problem(), epochs=4, verbose=0)
    kept = path.read_text()
    path.write_text(kept + torn)
    trainer.fit(*problem(), epochs=1, verbose=0)
    assert path.read_text().startswith(kept)
    assert [row[0] for row in read(path)[1]] == [1, 2, 3, 4, 5]
    # As after loading a checkpoint of an earlier epoch.
    trainer.epoch = 1
    trainer.fit(*problem(), epochs=1, verbose=0)
    assert [row[0] for row in read(path)[1]] == [1, 2]


def test_an_epoch_is_written_once(tmp_path):
    """A checkpoint may have been written before this callback heard of its epoch, and did."""
    path = tmp_path / "run.csv"
    trainer = make_trainer(path)
    trainer.fit(*problem(), epochs=2, verbose=0)
    before = path.read_bytes()
    again = rr.CSVLogger(path)
    again.on_train_begin(trainer, 1)
    again.on_epoch_end(trainer, 2, {"loss": 1.0, "lr": 1.0})
    assert path.read_bytes() == before
    again.on_epoch_end(trainer, 3, {"loss": 1.0, "lr": 0.5})
    assert path.read_bytes() == before + b"3,1.0,0.5\n"


@pytest.mark.parametrize("content", [b"", None])
def test_nothing_to_go_on_with(tmp_path, content):
    path = tmp_path / "run.csv"
    trainer = make_trainer(path)
    trainer.fit(*problem(), epochs=1, verbose=0)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    trainer.fit(*problem(), epochs=1, verbose=0)
    assert [row[0] for row in read(path)[1]] == [2]


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\x00\xfe\n", b"\x89PNG\r\n\x1a\n"])
def test_a_foreign_file_is_not_gone_on_with(tmp_path, content):
    path = tmp_path / "run.csv"
    trainer = make_trainer(path)
    trainer.fit(*problem(), epochs=1, verbose=0)
    path.write_bytes(content)
    with pytest.raises(rr.ConfigError, match=r"run\.csv"):
        trainer.fit(*problem(), epochs=1, verbose=0)
    assert path.read_bytes() == content
    assert trainer.epoch == 1


def test_other_quantities_get_columns_of_their_own(tmp_path):
    path = tmp_path / "run.csv"
    trainer = make_trainer(path)
    histories = [
        trainer.fit(*problem(), epochs=1, validation_split=split, verbose=0)
        for split in (0.0, 0.5, 0.0)
    ]
    first, second, third = (history["loss"][0] for history in histories)
    val_loss = histories[1]["val_loss"][0]
    assert path.read_text().splitlines() == [
        "epoch,loss,lr,val_loss",
        f"1,{first!r},0.01,",
        f"2,{second!r},0.01,{val_loss!r}",
        f"3,{third!r},0.01,",
    ]


def test_errors_of_writing_name_the_file_and_leave_it(tmp_path):
    resource = pytest.importorskip("resource", reason="no limit of a file's size here")
    path = tmp_path / "run.csv"
    trainer = make_trainer(path)
    trainer.fit(*problem(), epochs=1, verbose=0)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # For the new file, then for the row.
    for limit in (len(before) - 1, len(before) + 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(OSError, match=r"run\.csv'$") as caught:
                trainer.fit(*problem(), epochs=1, verbose=0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.errno == errno.EFBIG
        assert os.listdir(tmp_path) == ["run.csv"]
        assert path.read_bytes()[: len(before)] == before


def test_a_path_that_is_none():
    with pytest.raises(rr.DtypeError, match="path must be a path, got None"):
        rr.CSVLogger(None)
