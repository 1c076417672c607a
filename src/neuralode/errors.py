"""What can go wrong in a solve, as exceptions and warnings."""

import difflib
from collections.abc import Iterable


class SolverError(RuntimeError):
    """An integration that could not be finished.

    Attributes:
        reason: what stopped it, one sentence.
        t: time reached, in the units of ``t_span``.
        sample: index along the batch dimension, or None when the state is one system.
        step: size of the last step tried.
        hint: what to try.
    """

    def __init__(self, reason: str, t: float, sample: int | None, step: float, hint: str) -> None:
        self.reason, self.t, self.sample, self.step, self.hint = reason, t, sample, step, hint
        where = "" if sample is None else f"sample {sample}, "
        super().__init__(f"{reason} ({where}t = {t:.8g}, last step tried {step:.3g}). {hint}")

    def __reduce__(self) -> tuple[type, tuple[str, float, int | None, float, str]]:
        return type(self), (self.reason, self.t, self.sample, self.step, self.hint)


class SolverWarning(UserWarning):
    """A setting that was adjusted, or a result to be read with care."""


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in a registry, with the nearest one that is."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind} {name!r}.{guess} Known: {', '.join(names)}.")
