"""What formulas need, by PyTorch, NumPy and JAX: a problem is written once, and each code does the same arithmetic."""

import os
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, group_norm, linear

GROUPS = 32


class OfTorch:
    """By PyTorch."""

    tanh, cos, exp, log1p, relu = torch.tanh, torch.cos, torch.exp, torch.log1p, torch.relu
    stack, concatenate = torch.stack, torch.concatenate
    linear = linear

    @staticmethod
    def constant(values: Tensor) -> Tensor:
        return values

    @staticmethod
    def convolve(x: Tensor, kernel: Tensor) -> Tensor:
        return conv2d(x, kernel, padding=1)

    @staticmethod
    def normalise(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return group_norm(x, GROUPS, scale, shift)


class OfNumPy:
    """By NumPy, which has no convolution."""

    tanh, cos, exp, log1p = np.tanh, np.cos, np.exp, np.log1p
    stack, concatenate = np.stack, np.concatenate
    relu = partial(np.maximum, 0.0)

    @staticmethod
    def linear(x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight.T + bias


class OfJax:
    """By JAX, on one thread unless XLA_FLAGS says otherwise; ``double``: in float64 everywhere."""

    def __init__(self, double: bool) -> None:
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
        import jax
        from jax import numpy

        if double:
            jax.config.update("jax_enable_x64", True)
        self.jax = jax
        self.constant = lambda values: numpy.asarray(values.numpy())
        self.tanh, self.cos, self.exp, self.log1p = numpy.tanh, numpy.cos, numpy.exp, numpy.log1p
        self.stack, self.concatenate, self.relu = numpy.stack, numpy.concatenate, jax.nn.relu

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight.T + bias

    def convolve(self, x: Any, kernel: Any) -> Any:
        return self.jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")

    def normalise(self, x: Any, scale: Any, shift: Any) -> Any:
        grouped = x.reshape(x.shape[0], GROUPS, -1)
        mean, variance = grouped.mean(-1, keepdims=True), grouped.var(-1, keepdims=True)
        plain = ((grouped - mean) / self.jax.numpy.sqrt(variance + 1e-5)).reshape(x.shape)
        return plain * scale[:, None, None] + shift[:, None, None]
