"""Pictures, with matplotlib: the only package here that imports it."""

from .calibration import calibration
from .depth import dial
from .flows import flow
from .series import Curve, reconstructions, scores
from .style import figure, save

__all__ = ["Curve", "calibration", "dial", "figure", "flow", "reconstructions", "save", "scores"]
