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
    """Tensors saved for the backward pass by a solve: y0 alone, whatever f makes of its input."""
    y0 = torch.ones(50, requires_grad=True)
    saved = {}

    def deep(t, y):
        for _ in range(30):
            y = torch.sin(y)
        return y

    for gradient in ("direct", "discrete"):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x) or x, lambda x: x):
            sol = neuralode.solve(deep, (0.0, 1.0), y0, method="rk4", step=0.1, gradient=gradient)
        saved[gradient] = len(kept)
        assert sol.y1.requires_grad
    # 30 sines in each of 40 evaluations; the two evaluations that look for captures
    assert saved["direct"] >= 1200 and saved["discrete"] <= 2 * 30 + 2
