"""What an import costs: the solver, the models and the data load nothing that only training or pictures need."""

import subprocess
import sys

import pytest

HEAVY = ("lightning", "matplotlib", "rich", "scipy", "sklearn", "torchmetrics", "typer")


@pytest.mark.parametrize("module", ["neuralode", "neuralode.nn", "neuralode.data"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
