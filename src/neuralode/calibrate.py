"""``calibrate``: the cheapest method and tolerance whose gradient is good enough for a batch."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from .calibration import Calibration, search, trials_of
from .errors import unknown
from .registry import METHODS

LADDER = ("bosh3", "tsit5", "dop853")
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def calibrate(
    model_or_f: Any,
    batch: Any,
    /,
    *,
    loss: Callable[..., Tensor] | None = None,
    target: float | None = None,
    methods: Sequence[str] | None = LADDER,
    tolerances: Sequence[float] = TOLERANCES,
    t_span: Any = (0.0, 1.0),
    args: Any = (),
    seed: int = 0,
    **solver: Any,
) -> Calibration:
    """Measure loss and gradient over methods and tolerances, and choose the cheapest that is accurate enough.

    Every trial computes the loss of the batch and its gradient with respect to the parameters (of a plain f: those of
    the modules it is or closes over and tensors in args that want a gradient; without any, y0), under the same seed.
    They are compared with a reference: the method of highest order at a hundredth of the tightest tolerance (at least
    4 eps). A setting counts when it and every tighter one of its method meet the target, so that no lucky
    cancellation is taken for accuracy; the cheapest makes the fewest evaluations of f, forward and backward. The step
    of the ladder between it and the next looser setting is halved twice, in the logarithm.

    The default target is a tenth of the gradient's noise: with g_i the gradients of k = min(8, B) equal pieces of the
    batch (the loss must be a mean over the batch), noise = sqrt(sum_i |g_i - mean|^2 / (k (k - 1))), the standard
    error of the batch's gradient. Without parameters or two samples (of a plain f: with batch=None, the default) the
    target is a relative error of 1e-3.

    Parameters, their ``grad``, buffers, generators and the blocks' settings and counters are left as they were.

    Args:
        model_or_f: a module with blocks of ``neuralode.nn`` in it, or f(t, y, *args).
        batch: handed to ``loss``, with the batch in dimension 0 of its tensors; of a plain f: y0.
        loss: loss(model, batch), a 0-d tensor, the mean over the batch; of a plain f: loss(solution), by default the
            mean of |y1|^2 / 2.
        target: allowed |g - g_reference| / |g_reference|; None: as above.
        methods: names; None: those that the blocks have, which must be one.
        tolerances: rtol of the ladder; atol keeps its ratio to rtol.
        t_span, args: of a plain f; **solver: options of ``neuralode.solve`` of a plain f.
        seed: of the generators, for models that draw.

    Returns:
        A ``Calibration``: ``print`` it, ``plot`` it, ``apply`` it to the model, or give its ``options`` to ``solve``.

    Raises:
        ValueError, TypeError: a bad argument, named; a block with fixed steps or tolerances by component.
        SolverError: the reference failed.

    Example:
        >>> import torch
        >>> from neuralode.nn import MLPField, ODEBlock
        >>> block = ODEBlock(MLPField(2, hidden=8))
        >>> found = calibrate(block, torch.randn(32, 2), loss=lambda model, x: model(x).square().mean())
        >>> found.apply(block)
        >>> found.met, block.rtol == found.chosen.rtol
        (True, True)
    """
    if not tolerances or not all(0.0 < x < 1.0 for x in tolerances):
        raise ValueError(f"tolerances: got {tolerances!r}, takes numbers between 0 and 1")
    if target is not None and not target > 0.0:
        raise ValueError(f"target must be positive, got {target}")
    trials = trials_of(model_or_f, batch, loss, t_span, args, solver, seed)
    named = trials.methods() if methods is None else tuple(methods)
    if not named:
        raise ValueError("methods is empty: give at least one name, or None for the blocks' own")
    for name in named:
        if name not in METHODS or not METHODS[name].adaptive:
            raise unknown("adaptive method", name, (m.name for m in METHODS.values() if m.adaptive))
    return search(trials, named, tolerances, target)
