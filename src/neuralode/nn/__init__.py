"""Layers, flows and latent models that solve ODEs. Dimension 0 is the batch everywhere."""

from .block import ODEBlock
from .cnf import CNF
from .conv_field import ConvField
from .gated_planar import GatedPlanar
from .mlp_field import ConcatSquash, ConcatSquashMLP, MLPField
from .planar import PlanarFlow

__all__ = [
    "CNF",
    "ConcatSquash",
    "ConcatSquashMLP",
    "ConvField",
    "GatedPlanar",
    "MLPField",
    "ODEBlock",
    "PlanarFlow",
]
