"""From C++ text to a loaded library: the system's compiler, and a cache on disk by content."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from .graph import UnsupportedError
from .source import Source

FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",
)
WARNINGS = ("-w",)  # the text is generated: its tests are elsewhere
THREADS = ("-fopenmp",)  # a compiler without it (Apple's) makes solves that run on one thread
MOST_BYTES = 256 * 2**20
WIDTHS = {"AVX512": 64, "AVX2": 32}


class CompilerError(UnsupportedError):
    """No compiler, or one that fails."""


@lru_cache(maxsize=1)
def compiler() -> str:
    """The C++ compiler: $CXX, or what torch's extensions would take, or g++.

    Raises:
        CompilerError: none is there.
    """
    from torch.utils import cpp_extension

    names = [os.environ.get("CXX"), cpp_extension.get_cxx_compiler(), "g++"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        raise CompilerError(
            "backend='fused' needs a C++ compiler, and there is none: install g++ (Debian, Ubuntu: "
            "apt-get install g++), or name one in $CXX"
        )
    return found


@lru_cache(maxsize=1)
def machine() -> str:
    """What compiled code depends on besides its text: compiler, flags and the CPU's instructions."""
    version = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=False).stdout
    cpu = platform.processor() + platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").split("\n")
        cpu += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    text = "\n".join((version.split("\n")[0], " ".join(FLAGS), cpu))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def register_width() -> int:
    """Bytes of the widest native register."""
    return WIDTHS.get(torch.backends.cpu.get_cpu_capability(), 16)


def folder() -> Path:
    """Where libraries are kept: $NEURALODE_CACHE, or neuralode under $XDG_CACHE_HOME (~/.cache)."""
    named = os.environ.get("NEURALODE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neuralode" / "fused"


def library(source: Source) -> ctypes.CDLL:
    """The library of a source, built if no earlier process has."""
    name = f"{source.key}-{machine()}.so"
    try:
        place = folder()
        place.mkdir(parents=True, exist_ok=True)
        path = place / name
        if not path.exists():
            _build(source, path)
            _bound(place, path)
        else:
            os.utime(path)
        return ctypes.CDLL(str(path))
    except OSError:  # a cache that cannot be written, or that another process has just emptied
        with tempfile.TemporaryDirectory(prefix="neuralode-") as aside:
            path = Path(aside) / name
            _build(source, path)
            return ctypes.CDLL(str(path))


def _build(source: Source, path: Path) -> None:
    """Compile beside ``path``, then rename: whoever reads meets the whole file or none."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as aside:
        text, made = Path(aside) / "fused.cpp", Path(aside) / "fused.so"
        text.write_text(source.text, encoding="utf-8")
        command = [compiler(), *FLAGS, *WARNINGS, str(text), "-o", str(made)]
        trouble = _trouble([*command, *THREADS], made) and _trouble(command, made)
        if trouble:
            raise CompilerError(f"{compiler()} could not build the fused solver: {trouble}")
        os.replace(made, path)


def _trouble(command: list[str], made: Path) -> str:
    """Why a command does not make a library that can be loaded; empty if it does."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.split("\n") if "error" in line]
        return lines[0] if lines else done.stderr[-300:] or f"status {done.returncode}"
    try:
        ctypes.CDLL(str(made))
    except OSError as error:
        return str(error)
    return ""


def _bound(place: Path, newest: Path) -> None:
    """Drop the libraries unused for longest while they take too much room."""
    files = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in place.glob("*.so")), reverse=True)
    room = MOST_BYTES
    for _, size, path in files:
        room -= size
        if room < 0 and path != newest:
            path.unlink(missing_ok=True)
