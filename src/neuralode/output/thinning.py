"""Which accepted steps keep the state they started from, while their number is not known yet."""

from collections.abc import Sequence
from typing import Protocol

FEWEST = 8


class Keeping(Protocol):
    """What a tape keeps.

    Attributes:
        stages: whether steps that lose their state keep the stages that retaking them needs.
    """

    stages: bool

    def dropped(self, n: int) -> Sequence[int]:
        """The steps that lose their state when the n-th, counted from zero, is recorded."""


class Everything:
    """Every step keeps its state."""

    stages = True

    def dropped(self, n: int) -> Sequence[int]:
        return ()


class Nothing:
    """No step keeps its state."""

    stages = True

    def dropped(self, n: int) -> Sequence[int]:
        return (n,)


class Thinning:
    """Every ``stride``-th step keeps its state; the stride doubles when that makes too many.

    Args:
        most: how many states are kept; None: at most twice the stride, which is between sqrt(N) and sqrt(2 N) of N.
        stages: as in ``Keeping``.
    """

    def __init__(self, most: int | None = None, *, stages: bool = True) -> None:
        self.most, self.stages, self.stride = most, stages, 1

    def dropped(self, n: int) -> Sequence[int]:
        old = self.stride
        if n % old:
            return (n,)
        most = max(FEWEST, 2 * old) if self.most is None else self.most
        if n // old < most:
            return ()
        self.stride = 2 * old
        return range(old, n + 1, 2 * old)
