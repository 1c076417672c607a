"""Problems that amplify errors: orbits and chaos.

End values: Radau IIA of orders 13 and 9 in 80-bit arithmetic; Lorenz: Taylor series in 60 digits.
"""

import math
from typing import Any

import torch
from torch import Tensor

from .known import Known, by_components, vector

MOON = 0.012277471
MASSES = torch.arange(1.0, 8.0, dtype=torch.float64)


def arenstorf(t: Any, x: Any, z: Any, u: Any, v: Any) -> tuple[Any, ...]:
    """A body without mass near earth and moon, in the frame that turns with them (Hairer, Norsett, Wanner I, 0.1)."""
    earth = (1 - MOON) / ((x + MOON) ** 2 + z**2) ** 1.5
    moon = MOON / ((x - (1 - MOON)) ** 2 + z**2) ** 1.5
    du = x + 2 * v - earth * (x + MOON) - moon * (x - (1 - MOON))
    dv = z - 2 * u - (earth + moon) * z
    return u, v, du, dv


def pleiades_field(t: Tensor, y: Tensor) -> Tensor:
    """Seven stars of masses 1 to 7 in a plane (Hairer, Norsett, Wanner I, II.10.2)."""
    x, z, u, v = y.split(7, -1)
    dx = x[..., None, :] - x[..., :, None]
    dz = z[..., None, :] - z[..., :, None]
    near = dx**2 + dz**2 + torch.eye(7, dtype=y.dtype, device=y.device)  # a star does not pull itself
    pull = MASSES.to(y) / near**1.5
    return torch.cat((u, v, (pull * dx).sum(-1), (pull * dz).sum(-1)), -1)


def lorenz_field(t: Tensor, y: Tensor) -> Tensor:
    x, z, w = y.unbind(-1)
    return torch.stack((10 * (z - x), x * (28 - w) - z, x * z - 8 / 3 * w), -1)


def kepler_field(t: Tensor, y: Tensor) -> Tensor:
    x, z, u, v = y.unbind(-1)
    cube = (x**2 + z**2) ** 1.5
    return torch.stack((u, v, -x / cube, -z / cube), -1)


def kepler_state(eccentricity: float, t: float) -> Tensor:
    """Position and velocity at t from Kepler's equation E - e sin E = t, solved by Newton's method."""
    anomaly = t
    for _ in range(50):
        anomaly -= (anomaly - eccentricity * math.sin(anomaly) - t) / (1 - eccentricity * math.cos(anomaly))
    c, s, root = math.cos(anomaly), math.sin(anomaly), math.sqrt(1 - eccentricity**2)
    return vector(c - eccentricity, root * s, -s / (1 - eccentricity * c), root * c / (1 - eccentricity * c))


def kepler(eccentricity: float) -> Known:
    """The two-body problem over t = 20, a little more than three orbits."""
    return Known(
        f"Kepler {eccentricity}",
        kepler_field,
        (0.0, 20.0),
        kepler_state(eccentricity, 0.0),
        kepler_state(eccentricity, 20.0),
    )


KEPLER = kepler(0.6)
ARENSTORF_START = vector(0.994, 0.0, 0.0, -2.00158510637908252240537862224)
ARENSTORF = Known(
    "Arenstorf",
    by_components(arenstorf),
    (0.0, 10.0),
    ARENSTORF_START,
    vector(-8.39807166338986e-1, 4.46831417098472e-1, 3.73742535614394e-1, -1.49669644666895e-1),
)
ARENSTORF_ORBIT = Known(
    "Arenstorf, one orbit",
    by_components(arenstorf),
    (0.0, 17.0652165601579625588917206249),
    ARENSTORF_START,
    ARENSTORF_START,
)
PLEIADES = Known(
    "Pleiades",
    pleiades_field,
    (0.0, 3.0),
    vector(
        *(3.0, 3.0, -1.0, -3.0, 2.0, -2.0, 2.0),
        *(3.0, -3.0, 2.0, 0.0, 0.0, -4.0, 4.0),
        *(0.0, 0.0, 0.0, 0.0, 0.0, 1.75, -1.5),
        *(0.0, 0.0, 0.0, -1.25, 1.0, 0.0, 0.0),
    ),
    vector(
        3.70613914397051e-1, 3.23728409205723, -3.22255903241832, 6.59709145577531e-1, 3.42558170715658e-1,
        1.56217210140063, -7.0030929222125e-1,
        -3.94343758551739, -3.27138097397255, 5.22508184345654, -2.59061243497747, 1.19821369339227,
        -2.42968234493582e-1, 1.09144924042898,
        3.41700380631431, 1.35458450162550, -2.59006559781078, 2.02505373471424, -1.15581510016045,
        -8.07298817022302e-1, 5.95239635420871e-1,
        -3.74124496123401, 3.77345968575063e-1, 9.38685886955107e-1, 3.66792222720057e-1, -3.47404635380849e-1,
        2.34491544818094, -1.94702043426329,
    ),
)  # fmt: skip
LORENZ = Known(
    "Lorenz",
    lorenz_field,
    (0.0, 10.0),
    vector(1.0, 1.0, 1.0),
    vector(-4.902687541134645731904, -3.743872921802919616315, 24.69085810279055545322),
)
LORENZ_20 = Known(
    "Lorenz to 20",
    lorenz_field,
    (0.0, 20.0),
    vector(1.0, 1.0, 1.0),
    vector(13.79319959512861883160, 12.95180393618989854005, 34.90160868113514290711),
)
