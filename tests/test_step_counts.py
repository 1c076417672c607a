"""What a step costs between the calls of f, and where f is called."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import neuralode


class Count(TorchDispatchMode):
    """ATen calls and reads from the device; those of f are taken off by marking them."""

    def __init__(self):
        super().__init__()
        self.ops = self.reads = 0
        self.inside = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not self.inside:
            self.ops += 1
            self.reads += "local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


def cost(steps_to):
    counter = Count()

    def f(t, y):
        counter.inside = True
        dy = -y
        counter.inside = False
        return dy

    with torch.no_grad(), counter:
        sol = neuralode.solve(f, (0.0, steps_to), torch.ones(64, 4), first_step=0.1, max_step=0.1, rtol=1e-2)
    return sol.accepted + sol.rejected, counter


def test_operations_and_reads_of_a_dopri5_step():
    (few, one), (many, two) = cost(1.0), cost(3.0)
    steps = many - few
    assert steps >= 18
    assert (two.ops - one.ops) / steps <= 54
    assert two.reads - one.reads == steps


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
