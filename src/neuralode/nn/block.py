"""A solve as a layer."""

from collections.abc import Callable
from typing import Any

from .solving import Solving


class ODEBlock(Solving):
    """x(t0) to x(t1) along dx/dt = field(t, x): the paper's continuous block (section 3, equation 2).

    Args:
        field: `field(t, x)` gives dx/dt in x's shape; a module, so that its parameters are the block's.
        t_span: (t0, t1).
        **solver: options of `neuralode.solve`; each is an attribute too, to be changed after training, and
            `with block.using(rtol=1e-2): ...` changes it for a while. batch is "lockstep" by default.

    Attributes:
        nfev: evaluations of the field in the last forward call.
        nfev_backward: those of its backward pass so far.

    Raises:
        TypeError: an unknown option, with the nearest known one; or a field that cannot be called.

    Example:
        >>> import torch
        >>> from neuralode.nn import MLPField
        >>> block = ODEBlock(MLPField(2, hidden=16), rtol=1e-3)
        >>> block(torch.randn(5, 2)).shape
        torch.Size([5, 2])
        >>> block(torch.randn(5, 2), t_eval=[0.0, 0.5, 1.0]).shape
        torch.Size([3, 5, 2])
    """

    def __init__(self, field: Callable[..., Any], t_span: Any = (0.0, 1.0), **solver: Any) -> None:
        super().__init__(**solver)
        if not callable(field):
            raise TypeError(f"field: got {type(field).__name__}, takes a callable field(t, x)")
        self.field = field
        self.t_span = t_span

    def forward(self, x: Any, t_eval: Any = None) -> Any:
        """The state at t1, shaped like x; with `t_eval` (T,) the states at those times, (T, *x.shape).

        Args:
            x: (B, ...), or a pytree of such tensors.
            t_eval: times inside t_span, in its direction.
        """
        solution = self.integrate(self.field, self.t_span, x, t_eval)
        return solution.y1 if t_eval is None else solution.y
