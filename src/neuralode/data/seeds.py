"""Where the randomness of generated data comes from, and the check of their sizes."""

import torch

Seed = int | torch.Generator


def generator(seed: Seed) -> torch.Generator:
    """A CPU generator: `seed` itself, or a new one seeded by it.

    Raises:
        TypeError: `seed` is neither an int nor a `torch.Generator`.
    """
    if isinstance(seed, torch.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed: got {type(seed).__name__}, takes an int or a torch.Generator")
    return torch.Generator().manual_seed(seed)


def at_least(name: str, value: int, smallest: int) -> None:
    """Raise unless `value` is an int that is not below `smallest`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: got {value!r}, takes an int")
    if value < smallest:
        raise ValueError(f"{name}: got {value}, takes {smallest} or more")


def not_negative(name: str, value: float) -> None:
    """Raise unless `value` is a number >= 0."""
    if not value >= 0.0:
        raise ValueError(f"{name}: got {value}, takes a number >= 0")
