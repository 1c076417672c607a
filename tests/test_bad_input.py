"""Every bad argument gets an error that names it, what it got and what it takes; or a documented right result."""

import math

import pytest
import torch

import neuralode

Y0 = torch.ones(3, 2)


def decay(t, y):
    return -y


def call(f=decay, t_span=(0.0, 1.0), y0=Y0, **options):
    return neuralode.solve(f, t_span, y0, **options)


@pytest.mark.parametrize(
    ("y0", "error", "match"),
    [
        (torch.ones(3, dtype=torch.int64), TypeError, r"y0 is torch.int64, accepted: float32.*y0.float\(\)"),
        (torch.ones(3, dtype=torch.float16), TypeError, "y0 is torch.float16"),
        (torch.ones(3, dtype=torch.bool), TypeError, "y0 is torch.bool"),
        ([1.0, 2.0], TypeError, r"y0\[0\] must be a tensor, got float"),
        (2.0, TypeError, "y0 must be a tensor, got float"),
        ((), ValueError, "empty structure"),
        (torch.tensor([1.0, math.nan]), ValueError, "1 NaN or infinite entries, the first at flat index 1"),
        (torch.tensor([math.inf, 1.0]), ValueError, "the first at flat index 0"),
        (
            (torch.ones(2), torch.ones(2, dtype=torch.float64)),
            ValueError,
            r"y0\[1\] is torch.float64.*one dtype",
        ),
        ({"a": torch.ones(2), "b": torch.tensor([math.nan])}, ValueError, r"y0\['b'\] holds 1 NaN"),
    ],
)
def test_states(y0, error, match):
    with pytest.raises(error, match=match):
        call(y0=y0)


@pytest.mark.parametrize("batch", ["lockstep", "independent"])
def test_states_without_a_batch_dimension(batch):
    with pytest.raises(ValueError, match=r"0-dimensional.*y0\[None\]"):
        call(y0=torch.tensor(1.0), batch=batch)
    with pytest.raises(ValueError, match=r"y0\[1\] has shape \(2,\).*here 3"):
        call(y0=(torch.ones(3), torch.ones(2)), batch=batch)


@pytest.mark.parametrize(
    ("t_span", "match"),
    [
        ((0.0,), "two times"),
        (1.0, "two times"),
        ((0.0, math.nan), r"finite, got \(0.0, nan\)"),
        ((0.0, math.inf), "finite"),
        ((torch.zeros(2), torch.ones(2)), "batch='independent'"),
    ],
)
def test_spans(t_span, match):
    with pytest.raises(ValueError, match=match):
        call(t_span=t_span)


def test_spans_per_sample():
    with pytest.raises(ValueError, match=r"t0 in t_span.*shape \(3,\), got \(4,\)"):
        call(t_span=(torch.zeros(4), 1.0), batch="independent")
    with pytest.raises(ValueError, match="t1 in t_span must be finite"):
        call(t_span=(0.0, torch.tensor([1.0, math.nan, 1.0])), batch="independent")


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize(
    ("t_eval", "match"),
    [
        ([0.0, 0.6, 0.5], r"t_eval\[2\].*= 0.5 is out of order"),
        ([0.0, 1.5], r"t_eval\[1\].*= 1.5 lies outside t_span"),
        ([-0.5], r"t_eval\[0\].*lies outside"),
        ([0.0, math.nan], r"t_eval\[1\].*is not finite"),
        ("every", "None, times or 'steps'"),
    ],
)
def test_output_times(batch, t_eval, match):
    with pytest.raises(ValueError, match=match):
        call(t_eval=t_eval, batch=batch)


def test_output_times_of_wrong_shape():
    with pytest.raises(ValueError, match="1-dimensional"):
        call(t_eval=torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"\(T,\) or \(3, T\), got \(2, 4\)"):
        call(t_eval=torch.zeros(2, 4), batch="independent")


def test_output_times_documented_results():
    twice = call(t_eval=[0.5, 0.5, 1.0])
    assert torch.equal(twice.y[0], twice.y[1])
    none = call(t_eval=[])
    assert none.y.shape == (0, 3, 2) and none.y1.shape == (3, 2)
    # float32 puts 0.1 a little behind 0.1: moved onto the end
    assert call(t_span=(0.0, 0.1), t_eval=torch.linspace(0, 0.1, 4)).success
    down = call(t_span=(1.0, 0.0), t_eval=[1.0, 0.4, 0.0])
    assert down.t.tolist() == [1.0, 0.4, 0.0]


@pytest.mark.parametrize(
    ("f", "error", "match"),
    [
        (lambda t, y: -y[0], ValueError, r"f returned shape \(2,\), expected that of y, \(3, 2\)"),
        (lambda t, y: -y.sum(), ValueError, r"f returned shape \(\)"),
        (lambda t, y: -y.double(), TypeError, "f returned torch.float64, y is torch.float32"),
        (lambda t, y: None, TypeError, "must return dy/dt as a tensor like y, got NoneType"),
        (lambda t, y: (y, y), TypeError, "got tuple"),
        (lambda t, y: y.numpy(force=True), TypeError, "got ndarray"),
        (lambda t, y: y.neg_(), RuntimeError, "changed its argument y in place"),
    ],
)
@pytest.mark.parametrize("batch", [None, "independent"])
def test_vector_fields(f, error, match, batch):
    with pytest.raises(error, match=match):
        call(f=f, batch=batch)


def test_vector_fields_of_pytrees():
    state = {"a": torch.ones(2), "b": torch.ones(3)}
    with pytest.raises(ValueError, match=r"y's structure with leaves \[\"\['a'\]\", \"\['b'\]\"\]"):
        call(f=lambda t, y: {"a": y["a"]}, y0=state)
    with pytest.raises(ValueError, match=r"shape \(3,\) for leaf \['a'\], expected \(2,\)"):
        call(f=lambda t, y: {"a": y["b"], "b": y["b"]}, y0=state)


def test_f_is_not_callable():
    with pytest.raises(TypeError, match="f must be callable"):
        call(f=3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "dopri"}, "unknown method 'dopri'. Did you mean 'dopri5'"),
        ({"gradient": "discreet"}, "Did you mean 'discrete'"),
        ({"backend": "eagre"}, "Did you mean 'eager'"),
        ({"batch": "lockstp"}, "Did you mean 'lockstep'"),
        ({"controller": "pidd"}, "unknown controller 'pidd'. Did you mean 'pid'"),
        ({"norm": "rmse"}, "Did you mean 'rms'"),
        ({"rtol": -1e-3}, "rtol must be >= 0"),
        ({"atol": math.nan}, "atol must be >= 0 and finite"),
        ({"atol": torch.ones(5)}, r"atol has shape \(5,\), which does not broadcast to y0's \(3, 2\)"),
        ({"first_step": 0.0}, "first_step must be positive"),
        ({"max_step": -1.0}, "max_step must be positive"),
        ({"min_step": 2.0, "max_step": 1.0}, "min_step must lie in"),
        ({"max_steps": 0}, "max_steps must be a whole number"),
        ({"step": 0.0}, "step must be a positive number"),
        ({"step": torch.tensor([0.0, 0.5, 0.5, 1.0])}, r"strictly from t0 to t1; step\[2\]"),
        ({"step": torch.tensor([0.0, 2.0])}, "inside t_span"),
        ({"step": 0.1, "first_step": 0.1}, "only go with step=None"),
        ({"method": "rk4"}, "no error estimate: give step="),
    ],
)
def test_options(options, match):
    with pytest.raises(ValueError, match=match):
        call(**options)


def test_unknown_keywords_are_refused():
    with pytest.raises(TypeError, match="unexpected keyword"):
        call(tolerance=1e-3)


def test_tolerance_below_the_resolution_is_raised_with_a_warning():
    with pytest.warns(
        neuralode.SolverWarning, match=r"rtol = 1e-12 is below what torch.float32 resolves; using 4.77e-07"
    ):
        assert call(rtol=1e-12).success


def test_tolerances_per_entry():
    y0 = torch.ones(2, dtype=torch.float64)
    f = lambda t, y: torch.stack((torch.cos(40 * t), -y[1]))  # noqa: E731
    loose = call(f=f, y0=y0, atol=torch.tensor([1.0, 1e-6], dtype=torch.float64))
    tight = call(f=f, y0=y0, atol=1e-6)
    assert loose.nfev < 0.5 * tight.nfev


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
def test_empty_states_give_empty_results(shape, batch):
    sol = call(y0=torch.zeros(shape), t_eval=[0.0, 1.0], batch=batch)
    assert sol.y.shape == (2, *shape) and sol.success


def test_solution_without_dense_output():
    with pytest.raises(ValueError, match="dense_output=True"):
        call()(0.5)


def test_dense_output_outside_the_span():
    sol = call(dense_output=True)
    with pytest.raises(ValueError, match=r"t = 1.2 lies outside what was integrated, 0.0 to 1.0"):
        sol(1.2)


def test_meta_device_mismatch_is_named():
    with pytest.raises(ValueError, match="f returned a tensor on meta, y is on cpu"):
        call(f=lambda t, y: torch.empty(y.shape, device="meta"))
