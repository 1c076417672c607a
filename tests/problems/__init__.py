"""Problems with known solutions, float64, for the tests of methods."""

from .detest import DETEST
from .kinetics import E5, HIRES, OREGO, POLLUTION, ROBERTSON, ROBERTSON_4E5, ROBERTSON_40
from .known import Known, vector
from .lines import BRUSSELATOR_LINE, HEAT
from .orbits import ARENSTORF, ARENSTORF_ORBIT, KEPLER, LORENZ, LORENZ_20, PLEIADES, kepler
from .smooth import (
    BRUSSELATOR,
    FORCED,
    LINEAR,
    LOTKA_VOLTERRA,
    RIGID_BODY,
    TURN,
    VAN_DER_POL,
    VAN_DER_POL_5,
    van_der_pol,
)
from .stiff import PROTHERO_ROBINSON, STIFF, VAN_DER_POL_1E3, VAN_DER_POL_1E6

# Errors do not grow along these, and do along those.
STEADY = (FORCED, LINEAR, BRUSSELATOR, VAN_DER_POL, LOTKA_VOLTERRA, RIGID_BODY)
AMPLIFYING = (ARENSTORF, PLEIADES, LORENZ, KEPLER)

__all__ = [
    "AMPLIFYING",
    "ARENSTORF",
    "ARENSTORF_ORBIT",
    "BRUSSELATOR",
    "BRUSSELATOR_LINE",
    "DETEST",
    "E5",
    "FORCED",
    "HEAT",
    "HIRES",
    "KEPLER",
    "LINEAR",
    "LORENZ",
    "LORENZ_20",
    "LOTKA_VOLTERRA",
    "OREGO",
    "PLEIADES",
    "POLLUTION",
    "PROTHERO_ROBINSON",
    "RIGID_BODY",
    "ROBERTSON",
    "ROBERTSON_4E5",
    "ROBERTSON_40",
    "STEADY",
    "STIFF",
    "TURN",
    "VAN_DER_POL",
    "VAN_DER_POL_1E3",
    "VAN_DER_POL_1E6",
    "VAN_DER_POL_5",
    "Known",
    "kepler",
    "van_der_pol",
    "vector",
]
