"""Continuous normalizing flow: a density carried along an ODE (the paper's section 4)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .divergence import Rates, draw, estimate, exact, whole
from .solving import Solving
from .standard_normal import as_density, check_points

TRACES = ("exact", "hutchinson")
NOISES = ("rademacher", "gaussian")
PENALTIES = ("kinetic", "jacobian")


class CNF(Solving):
    """The density of x = z(t1) where z(t0) ~ base and dz/dt = field(t, z).

    Along a path, d log p / dt = -tr(df/dz) (equation 8), so that
    log p(x) = log base(z(t0)) - integral from t0 to t1 of tr(df/dz) dt, in one solve from t1 back to t0.

    Args:
        field: `field(t, z)` gives dz/dt (B, dim); t is 0-d or (B, 1). Where it has `with_trace(t, z)` (slope and
            trace together), `trace(t, z)` or `pushforward(t, z, v)`, these are used; any other differentiable
            field works, at dim backward passes an evaluation.
        dim: dimensions of x.
        base: a distribution over (dim,) with `log_prob` and `rsample` (or `sample`); None: N(0, I).
        t_span: (t0, t1), from base to data.
        trace: "exact", or "hutchinson": e . J e with one noise vector e per sample, drawn once a solve.
        regularize: weights of "kinetic", the mean integral of |f|^2, and "jacobian", that of |J|_F^2 (Finlay et
            al. 2020); their weighted sum is `penalty` after each `log_prob`.
        noise: of the estimator, "rademacher" or "gaussian".
        **solver: options of `neuralode.solve`; each is an attribute too.

    Attributes:
        penalty: 0-d tensor of the last `log_prob`, to be added to the loss; None without `regularize`.
        nfev, nfev_backward: evaluations of the field in the last solve and in its backward pass.

    Example:
        >>> from neuralode.nn import GatedPlanar
        >>> flow = CNF(GatedPlanar(2, width=8), dim=2)
        >>> flow.log_prob(torch.zeros(5, 2)).shape, flow.sample(7).shape
        (torch.Size([5]), torch.Size([7, 2]))
    """

    def __init__(
        self,
        field: Callable[[Tensor, Tensor], Tensor],
        dim: int,
        base: Any = None,
        t_span: tuple[float, float] = (0.0, 1.0),
        trace: str = "exact",
        regularize: Mapping[str, float] | None = None,
        *,
        noise: str = "rademacher",
        **solver: Any,
    ) -> None:
        super().__init__(**solver)
        if trace not in TRACES:
            raise ValueError(f"trace: got {trace!r}, takes one of {TRACES}")
        if noise not in NOISES:
            raise ValueError(f"noise: got {noise!r}, takes one of {NOISES}")
        if unknown := set(regularize or ()) - set(PENALTIES):
            raise ValueError(f"regularize: got {sorted(unknown)}, takes weights of {PENALTIES}")
        self.field, self.dim, self.base = field, dim, as_density(base, dim)
        self.t_span, self.trace, self.noise = t_span, trace, noise
        self.regularize = dict(regularize or {})
        self._penalty: Tensor | None = None
        self._augmented: Augmented | None = None

    @property
    def penalty(self) -> Tensor | None:
        """The weighted regularisers of the last `log_prob`."""
        return self._penalty

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,), for x (B, dim)."""
        return self.log_prob_at(x, self.t_span[1])

    def log_prob_at(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The log density at time t of the flow, (B,), for points x (B, dim); the base's at t0, p's at t1."""
        check_points(x, self.dim)
        z, change, *integrals = self._carry(x, t, self.t_span[0])
        # The integrals run from t down to t0: they count what they add up with the direction of time.
        sign = -1.0 if float(t) > self.t_span[0] else 1.0
        weighted = [
            weight * sign * part.mean()
            for weight, part in zip(self.regularize.values(), integrals, strict=True)
        ]
        self._penalty = torch.stack(weighted).sum() if weighted else None
        log_prob: Tensor = self.base.log_prob(z) + change
        return log_prob

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """n samples of x (n, dim), without gradient."""
        return self.rsample(n)

    def rsample(self, n: int) -> Tensor:
        """n samples of x (n, dim), differentiable with respect to the field's parameters."""
        x: Tensor = self.integrate(self.field, self.t_span, self._draw_base(n)).y1
        return x

    def rsample_with_log_prob(self, n: int) -> tuple[Tensor, Tensor]:
        """n samples (n, dim) and their log densities (n,) in one solve: what matching KL(q || p) needs."""
        z = self._draw_base(n)
        x, change, *_ = self._carry(z, *self.t_span)
        return x, self.base.log_prob(z) - change

    def path(self, z: Tensor, times: Any) -> Tensor:
        """The states (T, B, dim) at `times` (T,), increasing from t0 to t1, of paths that start in z (B, dim)."""
        check_points(z, self.dim)
        states: Tensor = self.integrate(self.field, self.t_span, z, times).y
        return states

    def _draw_base(self, n: int) -> Tensor:
        sampler = getattr(self.base, "rsample", None)
        if sampler is None or getattr(self.base, "has_rsample", True) is False:
            sampler = self.base.sample
        z: Tensor = sampler((n,))
        return z

    def _carry(self, x: Tensor, start: Any, stop: Any) -> tuple[Tensor, ...]:
        """(z, integral of the trace, integrals to be penalised) at `stop` of paths through x at `start`."""
        rates = self._rates()
        noise = (draw(self.noise, x),) if self.trace == "hutchinson" else ()
        zeros = (x.new_zeros(len(x)),) * (1 + len(rates.wanted))
        end: tuple[Tensor, ...] = self.integrate(rates, (start, stop), (x, *zeros), args=noise).y1
        return end

    def _rates(self) -> "Augmented":
        """The field with its trace, the same object while the settings are: what is compiled for it stays."""
        wanted = tuple(self.regularize)
        if self.trace == "hutchinson":
            find: Callable[..., Rates] = estimate
        else:
            find = whole if "jacobian" in wanted else exact
        now = Augmented(self.field, find, wanted)
        if now != self._augmented:
            self._augmented = now
        return self._augmented or now

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_penalty": None, "_augmented": None}


@dataclass(frozen=True)
class Augmented:
    """A field with the integrals that go along its paths: of the trace, and of what is ``wanted``.

    ``find(field, t, z, *noise)`` gives slope, trace and stiffness; noise has a row for each sample, drawn once a solve.
    """

    field: Callable[[Tensor, Tensor], Tensor]
    find: Callable[..., Rates]
    wanted: tuple[str, ...]

    def __call__(self, t: Tensor, state: tuple[Tensor, ...], *noise: Tensor) -> tuple[Tensor, ...]:
        found = self.find(self.field, t, state[0], *noise)
        extra = {"kinetic": found.slope.square().sum(-1), "jacobian": found.stiffness}
        return (found.slope, found.trace, *(extra[name] for name in self.wanted))  # type: ignore[arg-type]
