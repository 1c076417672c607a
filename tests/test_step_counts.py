"""What a step costs between the calls of f, and where f is called."""

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import neuralode


class Operations(TorchDispatchMode):
    """ATen calls, and those of them that read a number from the device; those of f are taken off by marking them."""

    def __init__(self):
        super().__init__()
        self.count = self.reads = 0
        self.inside = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not self.inside:
            self.count += 1
            self.reads += "local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


class Lists(TorchFunctionMode):
    """Reads of several numbers at once, which are no ATen calls on the CPU."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.reads += func is torch.Tensor.tolist
        return func(*args, **(kwargs or {}))


def cost(steps, batch, width, outputs):
    """(trial steps, ATen calls outside f, reads) of a solve of about so many steps of equal size."""
    operations, lists = Operations(), Lists()

    def f(t, y):
        operations.inside = True
        dy = -y
        operations.inside = False
        return dy

    end = 0.1 * steps
    times = torch.linspace(0.05, end - 0.05, outputs * steps, dtype=torch.float64) if outputs else None
    with torch.no_grad(), operations, lists:
        sol = neuralode.solve(
            f,
            (0.0, end),
            torch.ones(64, width),
            t_eval=times,
            batch=batch,
            first_step=0.1,
            max_step=0.1,
            rtol=1e-2,
        )
    taken = int(torch.as_tensor(sol.accepted + sol.rejected).max())
    return taken, operations.count, operations.reads + lists.reads


# What was counted, 34, 34, 37, 43, 35, 44, 149, 183, 204, and a margin. A state of 64 x 4 is combined by products, its
# outputs are evaluated together; one of 64 x 128 is combined term by term.
@pytest.mark.parametrize(
    ("batch", "width", "outputs", "most"),
    [
        (None, 4, 0, 36),
        (None, 4, 1, 36),
        (None, 128, 0, 40),
        (None, 128, 1, 47),
        ("lockstep", 4, 1, 37),
        ("lockstep", 128, 1, 48),
        ("independent", 4, 0, 160),
        ("independent", 4, 1, 195),
        ("independent", 128, 1, 215),
    ],
)
def test_operations_and_reads_of_a_dopri5_step(batch, width, outputs, most):
    (few, *one), (many, *two) = (cost(steps, batch, width, outputs) for steps in (10, 40))
    steps = many - few
    assert steps >= 28
    operations, reads = (b - a for a, b in zip(one, two, strict=True))
    assert operations / steps <= most
    assert reads == steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("span", [(0.3, 1.7), (2.0, -1.0)])
@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("step", [None, 0.17])
def test_f_is_never_called_outside_the_span_and_every_call_is_counted(batch, span, step, dtype):
    seen = []

    def f(t, y):
        seen.append(t.detach().double().reshape(-1))
        return -y * torch.cos(5 * t)

    with torch.no_grad():
        sol = neuralode.solve(
            f, span, torch.ones(3, 2, dtype=dtype), batch=batch, step=step, t_eval=[span[0], span[1]]
        )
    times = torch.cat(seen)
    ends = torch.tensor(span, dtype=dtype).double()
    assert times.min() >= ends.min() and times.max() <= ends.max()
    assert int(torch.as_tensor(sol.nfev).max()) == len(seen)


def test_backward_evaluations_are_counted():
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    calls = []

    def f(t, y):
        calls.append(t)
        return -y

    sol = neuralode.solve(f, (0.0, 1.0), y0)
    assert sol.nfev == len(calls) and sol.nfev_backward == 0
    sol.y1.sum().backward()
    assert sol.nfev + sol.nfev_backward == len(calls)
    # One more evaluation per stage of each accepted step, and no work for rejected ones.
    assert sol.nfev_backward == 6 * sol.accepted + 1
