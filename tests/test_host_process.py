"""The library does not change the process that uses it; only commands silence libraries."""

import gc
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import clusterkit.cli.store
from clusterkit.cli import main

USE = """
import contextlib, json, logging, os, pkgutil, importlib, sys, warnings
names = ("stdin", "stdout", "stderr")

def state():
    loggers = logging.Logger.manager.loggerDict
    levels = {n: (g.level, g.disabled) for n, g in loggers.items() if isinstance(g, logging.Logger)}
    files = [(s.st_dev, s.st_ino) for s in map(os.fstat, range(3))]
    streams = [id(getattr(sys, name)) for name in names]
    return {"levels": {n: level for n, level in levels.items() if n in known},
            "root": (logging.root.level, len(logging.root.handlers)), "files": files,
            "streams": streams, "environ": dict(os.environ), "finders": [*map(repr, sys.meta_path)],
            "filters": list(map(repr, warnings.filters)), "show": id(warnings.showwarning)}

def refuse(*_, **__):
    raise AssertionError("a file descriptor or a stream was redirected")

os.dup2 = contextlib.redirect_stdout.__enter__ = contextlib.redirect_stderr.__enter__ = refuse
FIRST
known = {*logging.Logger.manager.loggerDict}
before = state()
import clusterkit
for module in pkgutil.walk_packages(clusterkit.__path__, "clusterkit."):
    if not module.name.startswith(("clusterkit.cli", "clusterkit.__main__",
                                   "clusterkit.images.decoding_child")):
        importlib.import_module(module.name)
import numpy as np
from clusterkit.extractors.autoencoder.network import build_autoencoder
build_autoencoder((16, 16), latent_size=4, depth=2)(np.zeros((1, 16, 16, 3), np.uint8))
clusterkit.cluster(np.random.default_rng(0).random((20, 3)), n_clusters=2)
clusterkit.plots.CrosstabDisplay
after = state()
THEN
"""
# Effects of importing these libraries are not caused by clusterkit.
OTHERS = """
import keras, tensorflow, sklearn.cluster, sklearn.neighbors, matplotlib.figure, PIL.Image
import pyarrow.parquet, scipy.optimize, tqdm, h5py, threadpoolctl
keras.ops.zeros(())
"""


def use(first: str, then: str) -> str:
    """Use the library in a new process, and return the messages of other libraries."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    code = USE.replace("FIRST", first).replace("THEN", then)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def test_levels_filters_variables_and_streams_stay_as_they_were() -> None:
    use(OTHERS, "for name in before:\n    assert before[name] == after[name], name")


def test_the_first_import_of_keras_is_no_exception() -> None:
    said = use(
        "known = ()",
        "assert 'TF_CPP_MIN_LOG_LEVEL' not in os.environ\n"
        "assert logging.getLogger('tensorflow').level == logging.NOTSET\n"
        "for name in ('files', 'streams', 'root'):\n    assert before[name] == after[name], name",
    )
    assert said, "TensorFlow has no start-up message that a command could hold back"


def test_the_command_line_holds_back_start_up_messages(tmp_path: Path) -> None:
    code = (
        "import os, sys, warnings, logging\n"
        "from clusterkit.cli import main\n"
        "state = lambda: (os.environ.get('TF_CPP_MIN_LOG_LEVEL'), warnings.showwarning, "
        "sys.stderr, "
        "logging.getLogger('tensorflow').level, [f for f in sys.meta_path if 'Quiet' in repr(f)])\n"
        "before = state()\n"
        "import importlib\n"
        "import clusterkit.cli.store as store\n"
        "store.store.callback = lambda: importlib.import_module('keras') and None\n"
        "try:\n    main(['store', 'info', '-s', sys.argv[1]])\n"
        "except SystemExit as stop:\n    assert stop.code == 1\n"
        "assert 'keras' in sys.modules\n"
        "assert before == state()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: no embeddings in the store")


@pytest.mark.parametrize("chosen", [None, "0"])
def test_a_command_is_fast_and_leaves_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    if chosen is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    else:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", chosen)
    state = lambda: (os.environ.get("TF_ENABLE_ONEDNN_OPTS"), gc.get_threshold()[0])  # noqa: E731
    before, within = state(), []
    monkeypatch.setattr(clusterkit.cli.store.store, "callback", lambda: within.append(state()))
    CliRunner().invoke(main, ["store", "info", "-s", str(tmp_path)])
    assert within == [(chosen or "1", 200_000)]
    assert state() == before


@pytest.mark.parametrize("level", [None, "0", "1", "2", "3"])
def test_start_up_messages_that_are_asked_for_are_not_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str | None
) -> None:
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    asked_for = level in ("0", "1")
    before, held_back = logging.getLogger("tensorflow").level, []

    def look() -> None:
        held_back.append(os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3")
        held_back.append(logging.getLogger("tensorflow").level != before)
        held_back.append(any("Quiet" in repr(finder) for finder in sys.meta_path))

    monkeypatch.setattr(clusterkit.cli.store.store, "callback", look)
    CliRunner().invoke(main, ["store", "info", "-s", str(tmp_path)])
    assert held_back == [not asked_for] * 3
    assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") == level
