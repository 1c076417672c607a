"""What must hold whatever the shape, span or dtype, drawn by hypothesis."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neuralode

common = settings(deadline=None, derandomize=True, max_examples=25)
spans = st.tuples(st.floats(-5, 5), st.floats(0.01, 3), st.booleans()).map(
    lambda x: (x[0], x[0] + (x[1] if x[2] else -x[1]))
)
shapes = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)
batches = st.sampled_from([None, "lockstep", "independent"])
methods = st.sampled_from([m.name for m in neuralode.methods() if m.adaptive and not m.split])


def swing(t, y):
    return torch.cos(t) * torch.sin(y) - 0.3 * y


def state(shape, dtype=torch.float64):
    return torch.linspace(-1, 1, max(1, torch.Size(shape).numel()), dtype=dtype)[
        : torch.Size(shape).numel()
    ].reshape(shape)


@common
@given(spans, shapes, batches, methods)
def test_there_and_back(span, shape, batch, method):
    y0 = state(shape)
    options = {"method": method, "batch": batch, "rtol": 1e-8, "atol": 1e-8}
    there = neuralode.solve(swing, span, y0, **options).y1
    back = neuralode.solve(swing, span[::-1], there, **options).y1
    torch.testing.assert_close(back, y0, rtol=0, atol=1e-5)


@common
@given(spans, st.integers(-8, 8), methods)
def test_time_in_other_units(span, power, method):
    """t -> 2^k t with f / 2^k is the same computation, scaled: the same steps and the same bits."""
    c = 2.0**power
    y0 = state((4,))
    one = neuralode.solve(lambda t, y: torch.sin(y) - 0.3 * y, (0.0, span[1] - span[0]), y0, method=method)
    two = neuralode.solve(
        lambda t, y: (torch.sin(y) - 0.3 * y) / c, (0.0, c * (span[1] - span[0])), y0, method=method
    )
    assert (one.accepted, one.rejected) == (two.accepted, two.rejected)
    assert torch.equal(one.y1, two.y1)


@common
@given(
    spans,
    shapes,
    batches,
    st.sampled_from([torch.float32, torch.float64]),
    st.lists(st.floats(0, 1), max_size=5),
)
def test_outputs_lie_on_the_solution(span, shape, batch, dtype, fractions):
    y0 = state(shape, dtype)
    times = torch.tensor(sorted(fractions), dtype=torch.float64) * (span[1] - span[0]) + span[0]
    times = torch.minimum(torch.maximum(times, torch.tensor(min(span))), torch.tensor(max(span)))
    sol = neuralode.solve(swing, span, y0, t_eval=times, batch=batch, dense_output=True, rtol=1e-5, atol=1e-5)
    assert sol.y.shape == (len(times), *shape) and sol.y.dtype == dtype
    torch.testing.assert_close(sol(times), sol.y, rtol=1e-4, atol=1e-5)


@common
@given(st.integers(0, 3), st.integers(0, 3), batches)
def test_empty_states(samples, size, batch):
    y0 = torch.zeros(samples, size, dtype=torch.float64)
    sol = neuralode.solve(lambda t, y: -y, (0.0, 1.0), y0, t_eval=[0.0, 0.5, 1.0], batch=batch)
    assert sol.y.shape == (3, samples, size) and sol.success


@common
@given(shapes, batches)
def test_views_that_are_not_contiguous(shape, batch):
    y0 = state(shape).expand(2, *shape).transpose(0, -1)
    got = neuralode.solve(swing, (0.0, 1.0), y0, batch=batch)
    want = neuralode.solve(swing, (0.0, 1.0), y0.contiguous(), batch=batch)
    torch.testing.assert_close(got.y1, want.y1, rtol=1e-13, atol=1e-13)
