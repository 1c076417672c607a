"""The stiff set: relaxation oscillations, a slow manifold; chemistry and the method of lines have their own files."""

import torch
from torch import Tensor

from .kinetics import E5, HIRES, OREGO, POLLUTION, ROBERTSON
from .known import Known, row_time, vector
from .lines import BRUSSELATOR_LINE, HEAT
from .smooth import van_der_pol

STIFFNESS = 1e6


def manifold(t: Tensor) -> Tensor:
    return torch.stack((torch.cos(t), torch.exp(torch.cos(t))), -1)


def manifold_field(t: Tensor, y: Tensor) -> Tensor:
    """Prothero and Robinson (Math. Comp. 28, 1974), with a slow second unknown that feels the first."""
    t = row_time(t, y)
    fast = -STIFFNESS * (y[..., 0] - torch.cos(t)) - torch.sin(t)
    return torch.stack((fast, -torch.sin(t) * y[..., 1]), -1)


VAN_DER_POL_1E3 = Known(
    "van der Pol 1e3",
    van_der_pol(1e3),
    (0.0, 2e3),
    vector(2.0, 0.0),
    vector(1.70616773217046, -8.92809701024817e-4),
    atol_ratio=1e-3,
)
VAN_DER_POL_1E6 = Known(
    "van der Pol 1e6",
    van_der_pol(1e6),
    (0.0, 2e6),
    vector(2.0, 0.0),
    vector(1.70554621753538, -8.93476362546528e-7),
    atol_ratio=1e-3,
)
# Non-autonomous: a method that forgets df/dt, or evaluates f at wrong times, is off the manifold at once.
PROTHERO_ROBINSON = Known(
    "Prothero-Robinson",
    manifold_field,
    (0.0, 10.0),
    manifold(torch.tensor(0.0, dtype=torch.float64)),
    manifold(torch.tensor(10.0, dtype=torch.float64)),
    manifold,
)
STIFF = (
    VAN_DER_POL_1E3,
    VAN_DER_POL_1E6,
    ROBERTSON,
    OREGO,
    HIRES,
    POLLUTION,
    E5,
    HEAT,
    BRUSSELATOR_LINE,
    PROTHERO_ROBINSON,
)
