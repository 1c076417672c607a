"""Activation functions and operations with kinks or jumps, by the name of the module or of the operation."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

# Continuous, with a slope that jumps. ELU and CELU have none at alpha = 1.
KINKED = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softshrink,
    nn.SELU, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)  # fmt: skip
JUMPING = (nn.Hardshrink, nn.Threshold)
OPERATIONS = {
    "relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "prelu", "rrelu", "hardtanh", "hardsigmoid", "hardswish",
    "softshrink", "hardshrink", "threshold", "selu", "abs", "abs_", "absolute", "__abs__", "clamp", "clamp_",
    "clamp_min", "clamp_max", "clip", "maximum", "minimum", "fmax", "fmin", "max", "min", "amax", "amin", "sign", "sgn",
    "heaviside", "floor", "ceil", "round", "trunc", "frac", "fmod", "remainder", "max_pool1d", "max_pool2d",
    "max_pool3d",
}  # fmt: skip


def kinked_modules(modules: Iterable[nn.Module]) -> Iterator[str]:
    """ "path (class)" of every activation with a kink in the modules, once."""
    for module in modules:
        for name, part in module.named_modules():
            bent = isinstance(part, nn.ELU) and part.alpha != 1.0
            if bent or isinstance(part, (*KINKED, *JUMPING)):
                yield f"{name or 'f'} ({type(part).__name__})"


class Operations(TorchFunctionMode):
    """Lists the operations with kinks that are called, in the order they come first."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, None] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in OPERATIONS:
            self.seen.setdefault(name)
        return func(*args, **(kwargs or {}))
