"""The examples in the docstrings run and give what they show."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import neuralode

MODULES = sorted(module.name for module in pkgutil.walk_packages(neuralode.__path__, "neuralode."))
FINDER = doctest.DocTestFinder(exclude_empty=True)
EXAMPLES = [
    example
    for name in MODULES
    for example in FINDER.find(importlib.import_module(name), name)
    if example.examples
]


@pytest.mark.parametrize("example", [pytest.param(example, id=example.name) for example in EXAMPLES])
def test_example_gives_what_it_shows(example):
    torch.manual_seed(0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    failed, _ = runner.run(example, out=report.append)
    assert not failed, "".join(report)
