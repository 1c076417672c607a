"""Facts about a problem at places of its path, and the error that tells them where a solve fails."""

from .failure import explain, sentence
from .growth import blow_up
from .kinks import Operations, kinked_modules
from .report import Diagnosis
from .roughness import Rough, roughest
from .spectrum import Slopes, slopes, start_vector
from .stability import NEAR, STIFF, stability_interval

__all__ = [
    "NEAR",
    "STIFF",
    "Diagnosis",
    "Operations",
    "Rough",
    "Slopes",
    "blow_up",
    "explain",
    "kinked_modules",
    "roughest",
    "sentence",
    "slopes",
    "stability_interval",
    "start_vector",
]
