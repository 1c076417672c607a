"""P8: how wide a network may be before eager's batched matrix products beat a SIMD lane for each sample.

The field 16-W-W-16 with tanh, float32, dopri5, one thread, CPU time; the ratio eager / fused, forward and with the
gradient to the weights. The rule of ``backend="auto"`` (``neuralode/fused/width.py``) is read off this table.

    python benchmarks/width.py [W ...]
"""

import sys
from collections.abc import Callable

import torch
from timing import once
from torch import nn

from neuralode import solve
from neuralode.fused import UnsupportedError

WIDTHS = (64, 128, 256, 512, 724, 1024)
BATCHES = ((0, None), (1, "independent"), (8, "independent"), (256, "independent"), (256, "lockstep"))
REPEATS = 3


def smallest(run: Callable[[], object]) -> float:
    """CPU seconds of a run; NaN where it cannot be fused."""
    try:
        run()
    except UnsupportedError:
        return float("nan")
    return min(once(run)[0] for _ in range(REPEATS))


def row(width: int, samples: int, batch: str | None) -> str:
    """One line of the table."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(16, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 16)
    )
    y0 = torch.randn(samples, 16) if samples else torch.randn(16)

    def end(backend: str) -> torch.Tensor:
        return solve(
            lambda t, y: net(y), (0.0, 3.0), y0, rtol=1e-6, atol=1e-6, batch=batch, backend=backend
        ).y1

    def forward(backend: str) -> None:
        with torch.no_grad():
            end(backend)

    def gradient(backend: str) -> None:
        net.zero_grad()
        end(backend).square().sum().backward()

    cells = []
    for run in (forward, gradient):
        eager, fused = (
            smallest(lambda backend=backend, run=run: run(backend)) for backend in ("eager", "fused")
        )
        cells.append(f"{eager * 1e3:9.2f} {fused * 1e3:9.2f} {eager / fused:6.2f}")
    products = width * width + 32 * width
    return f"{width:6} {products:9,} {samples:5} {batch!s:12} " + "   ".join(cells)


def main(widths: list[int]) -> None:
    torch.set_num_threads(1)
    sys.stdout.write(
        "     W  products     B batch            eager     fused  ratio       eager     fused  ratio\n"
    )
    sys.stdout.write("                                     forward, ms                gradient, ms\n")
    for width in widths or WIDTHS:
        for samples, batch in BATCHES:
            sys.stdout.write(row(width, samples, batch) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main([int(name) for name in sys.argv[1:]])
