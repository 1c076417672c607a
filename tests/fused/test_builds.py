"""The generated code under sanitizers, and with fewer instructions than the machine has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fused.fields import D, Spiral, states, van_der_pol
from neuralode import solve
from neuralode.fused import build, field

pytestmark = pytest.mark.slow
INSTRUCTIONS = {"x86-64-v3": 32, "x86-64-v2": 16}  # AVX2, SSE: bytes of a register


def library_of(name: str) -> str:
    """Where the compiler keeps a library of its own."""
    command = [build.compiler(), f"-print-file-name={name}"]
    path = Path(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    if not path.is_absolute():
        pytest.skip(f"{build.compiler()} has no {name}")
    return str(path)


def test_sanitizers_find_nothing(tmp_path):
    place = str(Path(__file__).parents[1])
    env = {
        **os.environ,
        "LD_PRELOAD": f"{library_of('libasan.so')} {library_of('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "NEURALODE_CACHE": str(tmp_path),
        "PYTHONPATH": os.pathsep.join((place, os.environ.get("PYTHONPATH", ""))),
        "OMP_NUM_THREADS": "2",
    }
    script = str(Path(__file__).with_name("sanitized.py"))
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "ERROR" not in done.stderr and "runtime error" not in done.stderr, done.stderr[-3000:]


def values_and_gradients(dtype: torch.dtype) -> list[torch.Tensor]:
    """Of a network and of an equation with arguments, whose traces are new every time."""
    found: list[torch.Tensor] = []
    mu = torch.linspace(1, 5, 40, dtype=dtype).requires_grad_()
    f = Spiral(21, dtype)
    for g, args, inputs in ((f, (), tuple(f.parameters())), (lambda *a: van_der_pol(*a), (mu,), (mu,))):
        y0 = states(40, 2, dtype=dtype).requires_grad_()
        times = torch.linspace(0, 2, 5, dtype=D)
        options = {"args": args, "batch": "independent", "backend": "fused", "t_eval": times}
        solution = solve(g, (0.0, 2.0), y0, rtol=1e-5, atol=1e-5, **options)
        found += [solution.y.detach(), *torch.autograd.grad(solution.y.square().sum(), (y0, *inputs))]
    return found


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_fewer_instructions_give_the_same(monkeypatch, instructions, dtype):
    width = INSTRUCTIONS[instructions]
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX") or build.register_width() < width:
        pytest.skip(f"no {instructions} here")
    want = values_and_gradients(dtype)
    flags = tuple(f"-march={instructions}" if flag == "-march=native" else flag for flag in build.FLAGS)
    monkeypatch.setattr(build, "FLAGS", flags)
    monkeypatch.setattr(field, "register_width", lambda: width)
    build.machine.cache_clear()
    try:
        got = values_and_gradients(dtype)
    finally:
        build.machine.cache_clear()
    # Sums over samples have another order; SSE has no fused multiply-add, and steps that differ by rounding.
    bound = 1e-3 if dtype == torch.float32 else 1e-9
    for a, b in zip(want, got, strict=True):
        if width > 16 and a.dim() == 3:  # outputs
            assert torch.equal(a, b)
        assert (a - b).norm() <= bound * a.norm()
