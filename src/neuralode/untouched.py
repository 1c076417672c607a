"""A measurement that leaves no trace: generators, buffers and notes of modules are put back."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def untouched(modules: Iterable[nn.Module], tensors: Iterable[Tensor] = (), seed: int = 0) -> Iterator[None]:
    """Inside, PyTorch's generators are seeded; behind, they and all buffers of ``modules`` are as they were.

    Args:
        modules: whose buffers are restored in place (running statistics, power iterations of a spectral norm).
        tensors: tell the devices whose generators are restored.
        seed: of the generators inside, so that a random model draws the same in every measurement.
    """
    whole = list(modules)
    buffers = [(buffer, buffer.detach().clone()) for module in whole for buffer in module.buffers()]
    used = [
        *tensors,
        *(buffer for buffer, _ in buffers),
        *(p for module in whole for p in module.parameters()),
    ]
    devices = sorted({tensor.device.index or 0 for tensor in used if tensor.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, kept in buffers:
                    buffer.copy_(kept)
