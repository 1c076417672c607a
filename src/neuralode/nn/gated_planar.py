"""The vector field of the paper's continuous flow: a gated sum of planar fields (section 4, equation 10)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .linearization import Pushforward
from .mlp_field import widths


class Planes(NamedTuple):
    """The fields at one time: w, u (M, d), b, gate (M,); with a leading B where t differs by sample."""

    w: Tensor
    u: Tensor
    b: Tensor
    gate: Tensor


class GatedPlanar(Pushforward):
    """dz/dt = sum over n of sigma_n(t) u_n tanh(w_n . z + b_n); a network of t makes u, w, b and the gate.

    The trace of df/dz is the sum of sigma_n(t) (u_n . w_n) (1 - tanh^2), in closed form.

    Args:
        dim: d.
        width: M, the number of planar fields.
        hidden: width of the two hidden layers of the network that makes the parameters from t.

    z is (B, d); t is 0-d or (B, 1).
    """

    def __init__(self, dim: int, width: int = 64, hidden: int = 32) -> None:
        super().__init__()
        (self.dim,), (self.width,) = widths("dim", dim), widths("width", width)
        (hidden,) = widths("hidden", hidden)
        last = nn.Linear(hidden, width * (2 * dim + 2))
        self.network = nn.Sequential(
            nn.Linear(1, hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
            last,
        )
        nn.init.normal_(last.bias)  # different planes from the start

    def planes(self, t: Tensor) -> Planes:
        """The parameters at time t; u carries 1 / sqrt(M), so that the sum does not grow with M at first."""
        lead = () if t.dim() == 0 else (t.shape[0],)
        m, d = self.width, self.dim
        w, u, b, gate = self.network(t.reshape(-1, 1)).view(*lead, -1).split((m * d, m * d, m, m), dim=-1)
        return Planes(w.view(*lead, m, d), u.view(*lead, m, d) * m**-0.5, b, torch.sigmoid(gate))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        """dz/dt (B, d)."""
        planes = self.planes(t)
        return combine(planes.gate * activation(planes, z), planes.u)

    def with_trace(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """dz/dt (B, d) and the trace of its Jacobian (B,)."""
        planes = self.planes(t)
        h = activation(planes, z)
        overlap = planes.gate * (planes.u * planes.w).sum(-1)
        return combine(planes.gate * h, planes.u), ((1.0 - h * h) * overlap).sum(-1)

    def pushforward(self, t: Tensor, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """dz/dt (B, d) and J v (B, K, d) for directions v (B, K, d)."""
        planes = self.planes(t)
        h = activation(planes, z)
        bent = (v @ planes.w.mT) * (planes.gate * (1.0 - h * h)).unsqueeze(1)
        return combine(planes.gate * h, planes.u), bent @ planes.u


def activation(planes: Planes, z: Tensor) -> Tensor:
    """tanh(w_n . z + b_n), (B, M)."""
    if planes.w.dim() == 2:
        return torch.tanh(torch.addmm(planes.b, z, planes.w.T))
    return torch.tanh((planes.w @ z.unsqueeze(-1)).squeeze(-1) + planes.b)


def combine(weights: Tensor, u: Tensor) -> Tensor:
    """Sum over n of weights (B, M) times u_n, (B, d)."""
    return weights @ u if u.dim() == 2 else (weights.unsqueeze(1) @ u).squeeze(1)
