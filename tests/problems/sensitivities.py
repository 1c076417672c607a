"""A solution's exact derivatives: forward variational equations by methods of two orders, which agree."""

import torch
from torch import Tensor


def prey(t: Tensor, y: Tensor, p: Tensor) -> Tensor:
    """Lotka & Volterra's equations."""
    return torch.stack((p[0] * y[0] - p[1] * y[0] * y[1], -p[2] * y[1] + p[3] * y[0] * y[1]))


# At t = 10 from (1, 1) with p = (1.5, 1, 3, 1): a row an output, a column an input, y0 first.
PREY = (
    (1.96599605472817, 0.188568777078059, 2.16055752356262, 0.188568777078059, 0.563182794168198, 0.939651287153080),
    (-2.74397915592018, 0.211713489146683, -6.25677051722082, -0.697977588989358, -1.70901768059793, -2.74397915592018),
)  # fmt: skip
