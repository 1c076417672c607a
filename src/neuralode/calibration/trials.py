"""The loss and the gradient of a batch, at any method and tolerance."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..gradient.capture import parameters_of
from ..layout import leaves, rebuild
from ..nn.solving import Solving
from ..solution import Solution
from ..untouched import untouched
from .blocks import blocks_of, trial


class Alone(Solving):
    """A plain f as a block: from (y0, args) to its ``Solution``."""

    def __init__(self, f: Callable[..., Any], t_span: Any, options: dict[str, Any]) -> None:
        super().__init__(**{"batch": None, **options})
        self.f, self.t_span = f, t_span

    def forward(self, batch: tuple[Any, Any]) -> Solution:
        y0, args = batch
        return self.solver.solve(self.f, self.t_span, y0, args=args)


def half_square(solution: Solution) -> Tensor:
    """mean |y1|^2 / 2 over all numbers of the end."""
    ends = [leaf.abs().square().reshape(-1) for _, leaf in leaves(solution.y1, "")]
    return 0.5 * torch.cat(ends).mean()


@dataclass(frozen=True)
class Measured:
    """Loss, gradient (float64, one vector) and evaluations of one trial."""

    loss: float
    gradient: Tensor
    nfev: int
    nfev_backward: int


@dataclass(frozen=True)
class Trials:
    """What is tried.

    Attributes:
        model: whose blocks are set; loss: of (model, batch).
        wanted: tensors that the gradient is taken of.
        samples: in the batch, where its gradient is a mean over them; 0 where it is not.
        seed: of every trial.
    """

    model: nn.Module
    loss: Callable[[Any, Any], Tensor]
    batch: Any
    wanted: list[Tensor]
    samples: int
    seed: int

    def methods(self) -> tuple[str, ...]:
        """The one that the blocks have.

        Raises:
            ValueError: they have several.
        """
        names = sorted({block.method for block in blocks_of(self.model)})
        if len(names) > 1:
            raise ValueError(f"the blocks have methods {names}: give methods=, one for all of them")
        return tuple(names)

    @property
    def atol_share(self) -> float | None:
        """atol / rtol of the blocks, where they have it in common."""
        shares = {block.atol / block.rtol for block in blocks_of(self.model)}
        return shares.pop() if len(shares) == 1 else None

    @property
    def epsilon(self) -> float:
        """Of the coarsest floating-point type in sight."""
        tensors = self._tensors(self.batch)
        kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()}
        return max(torch.finfo(kind).eps for kind in kinds)

    def measure(
        self, method: str, rtol: float, rows: Tensor | None = None, seed: int | None = None
    ) -> Measured:
        """One trial, of the batch or of some of its rows.

        Raises:
            SolverError: a solve failed.
            TypeError: the loss is not a 0-d tensor.
        """
        batch = self.batch if rows is None else self._some(rows)
        blocks = blocks_of(self.model)
        with (
            untouched([self.model], self._tensors(batch), self.seed if seed is None else seed),
            trial(blocks, method, rtol) as solutions,
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            loss = self.loss(self.model, batch)
            if not isinstance(loss, Tensor) or loss.dim() != 0:
                got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise TypeError(f"loss must return a 0-d tensor, got {got}")
            found = torch.autograd.grad(loss, self.wanted, allow_unused=True)
        parts = [torch.zeros_like(x) if g is None else g for x, g in zip(self.wanted, found, strict=True)]
        flat = [torch.view_as_real(g) if g.is_complex() else g for g in parts]
        return Measured(
            float(loss.detach()),
            torch.cat([g.detach().reshape(-1).to("cpu", torch.float64) for g in flat]),
            sum(int(torch.as_tensor(s.nfev).max()) for s in solutions),
            sum(s.nfev_backward for s in solutions),
        )

    def _tensors(self, batch: Any) -> list[Tensor]:
        """What a trial computes with."""
        return [*self.wanted, *(leaf for _, leaf in leaves(batch, "") if isinstance(leaf, Tensor))]

    def _some(self, rows: Tensor) -> Any:
        """The batch's rows; what wants a gradient is a parameter, not data."""

        def cut(leaf: Any) -> Any:
            data = isinstance(leaf, Tensor) and leaf.dim() > 0 and not leaf.requires_grad
            return leaf[rows.to(leaf.device)] if data and len(leaf) == self.samples else leaf

        return rebuild(self.batch, iter([cut(leaf) for _, leaf in leaves(self.batch, "")]))


def trials_of(
    model_or_f: Any, batch: Any, loss: Any, t_span: Any, args: Any, options: dict[str, Any], seed: int
) -> Trials:
    """For a module with blocks in it, or for a plain f.

    Raises:
        TypeError: neither; or a module without a loss, or with what belongs to a plain f.
        ValueError: a module without parameters that want a gradient.
    """
    solves = isinstance(model_or_f, nn.Module) and any(isinstance(m, Solving) for m in model_or_f.modules())
    if not solves:
        return _trials_of_f(model_or_f, batch, loss or half_square, t_span, args, options, seed)
    if loss is None:
        raise TypeError("loss: a module needs one, loss(model, batch), a 0-d tensor")
    if options:
        raise TypeError(
            f"{', '.join(options)}: options of solve go with a plain f; a module's blocks have their own"
        )
    wanted = [p for p in model_or_f.parameters() if p.requires_grad]
    if not wanted:
        raise ValueError(f"{type(model_or_f).__name__} has no parameter that wants a gradient")
    return Trials(model_or_f, loss, batch, wanted, _rows(batch), seed)


def _trials_of_f(
    f: Any, y0: Any, loss: Callable[[Any], Tensor], t_span: Any, args: Any, options: dict[str, Any], seed: int
) -> Trials:
    if not callable(f):
        raise TypeError(f"model_or_f must be a module or callable as f(t, y, *args), got {type(f).__name__}")
    model = Alone(f, t_span, options)
    args = args if isinstance(args, tuple) else (args,)
    given = [leaf for _, leaf in leaves(args, "") if isinstance(leaf, Tensor) and leaf.requires_grad]
    wanted, samples = [*parameters_of(f), *given], _rows(y0) if model.batch is not None else 0
    starts = [leaf.detach() for _, leaf in leaves(y0, "")]
    if not wanted:
        wanted, samples = [start.clone().requires_grad_() for start in starts], 0
        starts = wanted
    batch = (rebuild(y0, iter(starts)), args)
    return Trials(model, lambda block, pair: loss(block(pair)), batch, wanted, samples, seed)


def _rows(batch: Any) -> int:
    """Dimension 0 of the first tensor; 0 without one."""
    tensors = [leaf for _, leaf in leaves(batch, "") if isinstance(leaf, Tensor) and leaf.dim() > 0]
    return len(tensors[0]) if tensors else 0
