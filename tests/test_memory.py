"""What is kept after a solve, and what is not."""

import gc
import weakref

import torch

import neuralode


def test_counting_keeps_no_graph_alive():
    w = torch.ones(3, requires_grad=True)
    h = torch.tanh(w)
    seen = weakref.ref(h)
    sol = neuralode.solve(lambda t, y: -y, (0.0, 1.0), h)
    count = sol.backward_count
    del sol, h
    gc.collect()
    assert seen() is None and count() == 0


def test_discrete_keeps_no_tape_of_f():
    """Tensors alive after the forward pass: two a step and a few more, whatever f makes of its input."""
    y0 = torch.ones(50, requires_grad=True)

    def deep(t, y):
        for _ in range(30):
            y = torch.sin(y)
        return y

    def alive(gradient):
        gc.collect()
        before = sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())
        sol = neuralode.solve(deep, (0.0, 1.0), y0, method="rk4", step=0.02, gradient=gradient)
        gc.collect()
        return sol, sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()) - before

    _sol, kept = alive("discrete")
    assert kept <= 2 * 50 + 20
