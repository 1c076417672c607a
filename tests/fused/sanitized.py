"""Solves and gradients of several fields and methods in a library built with sanitizers: run by test_builds.py."""

import torch

from fused.fields import Spiral, lotka_volterra, states, van_der_pol
from neuralode import Fused, solve
from neuralode.fused import build

SANITIZERS = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")  # -O0 builds fastest


class Wide(torch.nn.Module):
    """Products wider than a tile and than a register, a slice, softmax: sizes that are multiples of nothing."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = (torch.nn.Linear(n, m, dtype=dtype) for n, m in ((3, 37), (37, 3)))

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.first(y)) * torch.sin(t) + torch.softmax(self.first(y), -1)
        return self.last(hidden) + y[..., :1] * self.first.weight[:3, 0]


def run(f, samples: int, size: int, dtype: torch.dtype, backend: Fused, **options) -> None:
    """One solve and its gradient."""
    parameters = tuple(f.parameters()) if isinstance(f, torch.nn.Module) else ()
    y0 = states(samples, size, dtype=dtype).requires_grad_()
    args = tuple(a.to(dtype).requires_grad_() for a in options.pop("args", ()))
    times = torch.linspace(0, 2, 9, dtype=torch.float64)
    settings = {"rtol": 1e-4, "atol": 1e-4, "batch": "independent", "t_eval": times, **options}
    solution = solve(f, (0.0, 2.0), y0, args=args, backend=backend, **settings)
    loss = solution.y.nan_to_num().square().sum() + solution.y1.sum()
    if settings.get("dense_output"):
        loss = loss + solution(0.7).sum()
    torch.autograd.grad(loss, (y0, *args, *parameters))


def main() -> None:
    build.FLAGS = (*(flag for flag in build.FLAGS if flag != "-O3"), *SANITIZERS)
    torch.set_num_threads(2)
    plain, little = Fused(), Fused(memory=0)
    for samples, backend in ((1, plain), (150, plain), (150, little)):
        mu = torch.linspace(1, 5, samples)
        run(van_der_pol, samples, 2, torch.float32, backend, args=(mu,))
        run(Spiral(5, torch.float64), samples, 2, torch.float64, backend)
        run(Wide(torch.float32), samples, 3, torch.float32, backend, method="bosh3")
    run(lotka_volterra, 19, 2, torch.float64, plain, method="dop853", t_eval="steps", dense_output=True)
    run(lotka_volterra, 19, 2, torch.float32, little, method="rk4", step=0.1)
    for samples in (40, 3000):
        run(lotka_volterra, samples, 2, torch.float32, plain, batch="lockstep")
        run(
            lotka_volterra,
            samples,
            2,
            torch.float32,
            little,
            batch="lockstep",
            t_eval="steps",
            dense_output=True,
        )
    levels = torch.logspace(-5, -4, 19, dtype=torch.float32)[:, None]
    run(Wide(torch.float32), 19, 3, torch.float32, little, batch="lockstep", atol=levels, method="bosh3")


if __name__ == "__main__":
    main()
