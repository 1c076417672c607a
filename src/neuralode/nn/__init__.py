"""Layers, flows and latent models that solve ODEs. Dimension 0 is the batch everywhere."""

from .block import ODEBlock
from .cnf import CNF
from .conv_field import ConvField
from .forecaster import RNNForecaster
from .gated_planar import GatedPlanar
from .latent_ode import LatentODE
from .likelihood import Gaussian, PoissonProcess
from .mlp_field import ConcatSquash, ConcatSquashMLP, MLPField
from .planar import PlanarFlow
from .prediction import Prediction

__all__ = [
    "CNF",
    "ConcatSquash",
    "ConcatSquashMLP",
    "ConvField",
    "GatedPlanar",
    "Gaussian",
    "LatentODE",
    "MLPField",
    "ODEBlock",
    "PlanarFlow",
    "PoissonProcess",
    "Prediction",
    "RNNForecaster",
]
