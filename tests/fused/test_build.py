"""The cache of compiled code, and what is said where nothing can be compiled."""

import os
import subprocess
import sys

import pytest
import torch

from fused.fields import lotka_volterra, states
from neuralode import solve
from neuralode.fused import UnsupportedError, build
from neuralode.fused.source import Source, header

TEXT = f"#define REAL float\n#define BYTES 16\n{header('lanes.hpp')}\n"


def probe(number: int) -> Source:
    return Source(TEXT + f'extern "C" int probe() {{ return {number}; }}\n')


def test_no_compiler_is_said_in_a_sentence(monkeypatch):
    build.compiler.cache_clear()
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    try:
        with pytest.raises(UnsupportedError, match="needs a C\\+\\+ compiler"):
            build.compiler()
    finally:
        build.compiler.cache_clear()


def test_built_once_and_found_again(monkeypatch):
    assert build.library(probe(7)).probe() == 7
    monkeypatch.setattr(build, "_build", lambda *_: pytest.fail("built again"))
    assert build.library(probe(7)).probe() == 7


def test_a_folder_that_cannot_be_made_is_no_obstacle(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NEURALODE_CACHE", str(tmp_path / "file" / "below"))
    assert build.library(probe(8)).probe() == 8


def test_the_cache_is_bounded(monkeypatch, tmp_path):
    monkeypatch.setenv("NEURALODE_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "MOST_BYTES", 1)
    build.library(probe(1))
    build.library(probe(2))
    assert len(list(tmp_path.glob("*.so"))) == 1


@pytest.mark.slow
def test_two_processes_build_the_same(tmp_path):
    code = (
        "from neuralode.fused import build; from neuralode.fused.source import Source;"
        f"assert build.library(Source({probe(3).text!r})).probe() == 3"
    )
    env = {**os.environ, "NEURALODE_CACHE": str(tmp_path)}
    runs = [subprocess.Popen([sys.executable, "-c", code], env=env) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert [p.suffix for p in tmp_path.iterdir()] == [".so"]


@pytest.mark.slow
def test_no_compiler_falls_back(monkeypatch):
    def none() -> str:
        raise build.CompilerError("there is none")

    monkeypatch.setattr(build, "compiler", none)
    build.machine.cache_clear()
    try:
        y0 = states(2, 2, dtype=torch.float32)
        solution = solve(
            lambda t, y: lotka_volterra(t, y), (0.0, 1.0), y0, batch="independent", backend="auto"
        )
    finally:
        build.machine.cache_clear()
    assert solution.report["not fused"] == "there is none"


@pytest.mark.parametrize(
    "flags", [("-fno-such-flag",), ("-Wl,--unresolved-symbols=ignore-all", "-Wl,-z,lazy", "-DMISSING")]
)
def test_a_compiler_without_openmp_will_do(monkeypatch, tmp_path, flags):
    """Whether it refuses the flag, or makes a library that cannot be loaded."""
    monkeypatch.setenv("NEURALODE_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "THREADS", flags)
    missing = 'extern int missing;\n#ifdef MISSING\nextern "C" int* wanted() { return &missing; }\n#endif\n'
    source = Source(TEXT + missing + 'extern "C" int probe() { return 11; }\n')
    assert build.library(source).probe() == 11


def test_a_library_that_cannot_be_built_is_said_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("NEURALODE_CACHE", str(tmp_path))
    with pytest.raises(UnsupportedError, match=r"could not build the fused solver: .*error: "):
        build.library(Source("not C++\n"))
    assert not list(tmp_path.glob("*.so"))
