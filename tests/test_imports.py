"""What an import costs and what it gives: nothing heavy for solver, models and data; no name that is not there."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import neuralode

HEAVY = ("lightning", "matplotlib", "rich", "scipy", "sklearn", "torchmetrics", "typer")
FOLDERS = [module.name for module in pkgutil.iter_modules(neuralode.__path__) if module.ispkg]
PACKAGES = ["neuralode", *(f"neuralode.{name}" for name in sorted(FOLDERS))]


@pytest.mark.parametrize("module", ["neuralode", "neuralode.nn", "neuralode.data"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_there_and_once(package):
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", ["neuralode", "neuralode.data", "neuralode.nn", "neuralode.train"])
def test_public_names_say_what_they_are(package):
    module = importlib.import_module(package)
    public = [getattr(module, name) for name in module.__all__]
    described = [thing for thing in public if inspect.isclass(thing) or inspect.isfunction(thing)]
    assert described
    assert [thing for thing in described if not thing.__doc__] == []
