"""Whatever f reads may change between two solves: the next solve is of the f that is there then."""

import dataclasses
import functools
import gc
import math
import types
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fused.fields import D
from neuralode import Fused, solve
from neuralode.fused import field, known

# Of solves at tolerance 1e-9.
CLOSE = 1e-6


def rate_of(f, args=(), backend="fused", size: int = 1) -> float:
    """The r that f(t, y) = -r y has in a solve."""
    y0 = torch.ones(2, size, dtype=D)
    solution = solve(f, (0.0, 1.0), y0, args=args, rtol=1e-9, atol=1e-9, batch="independent", backend=backend)
    return -float(solution.y1[0, 0].detach().log())


RATE = 1.0


class Box:
    rate = 1.0


BOX = Box()


def change_cell():
    rate = 1.0

    def f(t, y):
        return -rate * y

    def change():
        nonlocal rate
        rate = 2.0

    return f, change


def change_global():
    def f(t, y):
        return -RATE * y

    return f, lambda: globals().update(RATE=2.0)


def change_global_of_a_helper():
    def helper(y):
        return RATE * y

    def f(t, y):
        return -helper(y)

    return f, lambda: globals().update(RATE=2.0)


def change_attribute_of_a_global():
    def f(t, y):
        return -BOX.rate * y

    return f, lambda: setattr(BOX, "rate", 2.0)


def change_class_attribute():
    class Field:
        rate = 1.0

        def __call__(self, t, y):
            return -self.rate * y

    return Field(), lambda: setattr(Field, "rate", 2.0)


def change_own_attribute():
    f = change_class_attribute()[0]
    return f, lambda: setattr(f, "rate", 2.0)


def change_attribute_by_name():
    class Field:
        def __init__(self):
            self.rate_0 = 1.0

        def __call__(self, t, y):
            return -getattr(self, f"rate_{0}") * y

    f = Field()
    return f, lambda: setattr(f, "rate_0", 2.0)


def change_property():
    class Field:
        def __init__(self):
            self.half = 0.5

        @property
        def rate(self):
            return 2 * self.half

        def __call__(self, t, y):
            return -self.rate * y

    f = Field()
    return f, lambda: setattr(f, "half", 1.0)


def change_default():
    def f(t, y, rate=1.0):
        return -rate * y

    return f, lambda: setattr(f, "__defaults__", (2.0,))


def change_keyword_default():
    def f(t, y, *, rate=1.0):
        return -rate * y

    return f, lambda: f.__kwdefaults__.update(rate=2.0)


def change_partial():
    box = Box()

    def g(t, y, box):
        return -box.rate * y

    return functools.partial(g, box=box), lambda: setattr(box, "rate", 2.0)


def change_bound_method():
    class Model:
        def __init__(self):
            self.rate = 1.0

        def slope(self, t, y):
            return -self.rate * y

    model = Model()
    return model.slope, lambda: setattr(model, "rate", 2.0)


def change_list():
    rates = [1.0]

    def f(t, y):
        return -rates[0] * y

    return f, lambda: rates.__setitem__(0, 2.0)


def change_nested_dict():
    settings = {"inner": {"rate": 1.0}}

    def f(t, y):
        return -settings["inner"]["rate"] * y

    return f, lambda: settings["inner"].update(rate=2.0)


def change_code():
    def f(t, y):
        return -y

    def other(t, y):
        return -2.0 * y

    return f, lambda: setattr(f, "__code__", other.__code__)


def change_helper():
    def once(y):
        return y

    box = types.SimpleNamespace(helper=once)

    def f(t, y):
        return -box.helper(y)

    return f, lambda: setattr(box, "helper", lambda y: 2.0 * y)


def change_mode():
    class Field(nn.Module):
        def forward(self, t, y):
            return -y if self.training else -2.0 * y

    f = Field()
    return f, f.eval


def change_mode_of_a_part():
    f = nn.ModuleDict({"part": change_mode()[0]})
    return (lambda t, y: f["part"](t, y)), f.eval


def change_parameter():
    layer = nn.Linear(1, 1, bias=False, dtype=D)
    nn.init.constant_(layer.weight, -1.0)

    def f(t, y):
        return layer(y)

    return f, lambda: setattr(layer, "weight", nn.Parameter(torch.full((1, 1), -2.0, dtype=D)))


def change_parameter_data():
    f, _ = change_parameter()
    layer = f.__closure__[0].cell_contents
    return f, lambda: setattr(layer.weight, "data", torch.full((1, 1), -2.0, dtype=D))


def change_layer():
    net = nn.Sequential(nn.Identity())

    def f(t, y):
        return -net(y)

    class Twice(nn.Module):
        def forward(self, y):
            return 2.0 * y

    return f, lambda: net.__setitem__(0, Twice())


def change_hook():
    net = nn.Identity()

    def f(t, y):
        return -net(y)

    return f, lambda: net.register_forward_hook(lambda module, args, out: 2.0 * out)


def change_tensor_in_place():
    rate = torch.ones(1, dtype=D)
    return (lambda t, y: -rate * y), lambda: rate.fill_(2.0)


def change_array():
    rate = np.ones(1)
    return (lambda t, y: -float(rate[0]) * y), lambda: rate.fill(2.0)


def change_index():
    rates, index = torch.tensor([1.0, 2.0], dtype=D), torch.tensor([0])
    return (lambda t, y: -rates[index] * y), lambda: index.fill_(1)


CHANGES = [value for name, value in list(globals().items()) if name.startswith("change_")]


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    globals()["RATE"] = 1.0
    BOX.__dict__.clear()


@pytest.mark.parametrize("make", CHANGES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("solves", [1, 3])  # the third has no comparison with f due
def test_a_change_is_seen(make, solves):
    f, change = make()
    for _ in range(solves):
        assert rate_of(f) == pytest.approx(1.0, rel=CLOSE)
    change()
    assert rate_of(f) == pytest.approx(2.0, rel=CLOSE)


def test_a_change_that_does_not_show_at_t0_is_seen():
    limit = 2.0

    def f(t, y):
        return -torch.clamp(y, max=limit)

    before = rate_of(f)
    rate_of(f), rate_of(f)
    limit = 0.9
    assert rate_of(f) == pytest.approx(rate_of(f, backend="eager"), rel=CLOSE)
    limit = 1.5
    assert rate_of(f) == pytest.approx(before, rel=CLOSE)


@pytest.fixture
def traces(monkeypatch):
    """How often f was traced; programs of equal functions in other tests are forgotten."""
    known.PROGRAMS.clear()
    count = []
    real = field.trace
    monkeypatch.setattr(field, "trace", lambda *args: count.append(1) or real(*args))
    return count


def test_a_function_made_anew_is_not_traced_again(traces):
    net = nn.Linear(1, 1, bias=False, dtype=D)

    def solved(rate: Tensor, power: int) -> float:
        nn.init.constant_(net.weight, -float(rate.detach()))
        return rate_of(lambda t, y: rate * net(y) ** power)

    for value in (1.0, 2.0, 3.0):
        assert solved(torch.tensor([value], dtype=D), 1) == pytest.approx(value**2, rel=CLOSE)
    assert len(traces) == 1
    with torch.no_grad():
        solved(torch.ones(1, dtype=D), 3)
    assert len(traces) == 2


def test_equal_objects_are_not_the_same():
    @dataclasses.dataclass(frozen=True)
    class Field:
        name: str
        rate: Tensor = dataclasses.field(compare=False)

        def __call__(self, t, y):
            return -self.rate * y

        def twice(self, t, y):
            return 2.0 * self(t, y)

    one, two = (Field("f", torch.tensor([x], dtype=D)) for x in (1.0, 2.0))
    for _ in range(3):
        assert rate_of(one) == pytest.approx(1.0, rel=CLOSE)
        assert rate_of(two) == pytest.approx(2.0, rel=CLOSE)
        assert rate_of(two.twice) == pytest.approx(4.0, rel=CLOSE)


def test_two_names_of_one_tensor_are_not_two_tensors(traces):
    def field_of(a, b):
        return lambda t, y: -(a + b) * y

    one, two, four = (torch.tensor([x], dtype=D) for x in (0.5, 0.5, 3.5))
    assert rate_of(field_of(one, one)) == pytest.approx(1.0, rel=CLOSE)
    assert rate_of(field_of(two, four)) == pytest.approx(4.0, rel=CLOSE)
    assert len(traces) == 2


def test_gradients_of_a_function_made_anew():
    for value in (0.5, 1.5):
        rate = torch.tensor([value], dtype=D, requires_grad=True)
        solution = solve(
            lambda t, y, rate=rate: -rate * y, (0.0, 1.0), torch.ones(1, 1, dtype=D), rtol=1e-9, atol=1e-9,
            batch="independent", backend="fused",
        )  # fmt: skip
        (slope,) = torch.autograd.grad(solution.y1.sum(), rate)
        assert float(slope) == pytest.approx(-math.exp(-value), rel=CLOSE)


def test_an_optimizer_step_traces_nothing(traces):
    f = change_parameter()[0]
    weight = f.__closure__[0].cell_contents.weight
    optimizer = torch.optim.SGD([weight], lr=1.0)
    for _ in range(4):
        solution = solve(f, (0.0, 1.0), torch.ones(2, 1, dtype=D), batch="independent", backend="fused")
        optimizer.zero_grad()
        (-solution.y1.log().sum() * -0.5).backward()
        optimizer.step()
    assert len(traces) == 1
    assert float(weight.detach()) != -1.0
    assert rate_of(f) == pytest.approx(-float(weight.detach()), rel=CLOSE)


def test_requires_grad_that_is_flipped_is_seen():
    f = change_parameter()[0]
    weight = f.__closure__[0].cell_contents.weight
    y0 = torch.ones(2, 1, dtype=D)
    for wanted in (True, False, True):
        weight.requires_grad_(wanted)
        solution = solve(f, (0.0, 1.0), y0, batch="independent", backend="fused")
        assert solution.y1.requires_grad == wanted


def test_a_counter_of_calls_is_no_change(traces):
    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, t, y):
            self.calls += 1
            return -y

    f = Field()
    for _ in range(4):
        rate_of(f)
        f.calls = 0
    assert len(traces) == 1


def test_an_attribute_that_f_does_not_read_is_no_change(traces):
    class Field(nn.Module):
        def forward(self, t, y):
            return -y

    f = Field()
    for epoch in range(3):
        f.epoch = epoch
        rate_of(f)
    assert len(traces) == 1


def test_what_cannot_be_seen_is_found_by_the_comparisons(monkeypatch):
    """A built-in package counts as fixed: a function that is put in its place shows at the next comparison."""

    def f(t, y):
        return -torch.relu(y)

    assert rate_of(f) == pytest.approx(1.0, rel=CLOSE)
    monkeypatch.setattr(torch, "relu", lambda y: 2.0 * y)
    found = [rate_of(f) for _ in range(4)]
    assert found[-1] == pytest.approx(2.0, rel=CLOSE)
    assert known.table_of(f).blind
    assert all(each.watched is None for each in known.table_of(f).known.values())
    always = [rate_of(f, backend=Fused(check="always")) for _ in range(2)]
    assert always[-1] == pytest.approx(2.0, rel=CLOSE)


def test_comparisons_grow_rare():
    due = [use for use in range(1, 5000) if known.is_due(use)]
    assert due[:5] == [1, 2, 4, 8, 16]
    assert due[-3:] == [2048, 3072, 4096]


def test_without_a_check_nothing_is_looked_at():
    f, change = change_own_attribute()
    backend = Fused(check=False)
    assert rate_of(f, backend=backend) == pytest.approx(1.0, rel=CLOSE)
    change()
    assert rate_of(f, backend=backend) == pytest.approx(1.0, rel=CLOSE)
    with pytest.raises(ValueError, match="check"):
        Fused(check="sometimes")


def test_arguments_that_change_are_seen():
    def f(t, y, rate, box):
        return -rate * box["rate"] * y

    box = {"rate": 1.0}
    assert rate_of(f, (1.0, box)) == pytest.approx(1.0, rel=CLOSE)
    assert rate_of(f, (2, box)) == pytest.approx(2.0, rel=CLOSE)
    box["rate"] = 3.0
    assert rate_of(f, (1.0, box)) == pytest.approx(3.0, rel=CLOSE)


def test_objects_among_the_arguments_that_change_are_seen():
    def f(t, y, box):
        return -box.rate * y

    box = Box()
    for _ in range(3):
        assert rate_of(f, (box,)) == pytest.approx(1.0, rel=CLOSE)
    box.rate = 2.0
    assert rate_of(f, (box,)) == pytest.approx(2.0, rel=CLOSE)


def test_a_model_is_not_kept_alive():
    class Model:
        def __init__(self):
            self.net = nn.Linear(1, 1, bias=False, dtype=D)
            self.f = lambda t, y: -(self.net(y) ** 2)

    model = Model()
    for _ in range(3):
        rate_of(model.f)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
