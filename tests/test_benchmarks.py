"""The benchmark of gradients keeps its promises on its small problems."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from neuralode.gradient import GRADIENTS

ROOT = Path(__file__).parents[1]
SCRIPT, PAGE = ROOT / "benchmarks" / "gradients.py", ROOT / "docs" / "gradients.md"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("gradients")
    command = [sys.executable, str(SCRIPT), "--quick", "--problems", "vdp", "contracting", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pictures = sorted(path.stem for path in out.glob("*.png"))
    return json.loads((out / "gradients.json").read_text()), done.stdout, pictures


def ours(rows):
    return {row["gradient"]: row for row in rows if row["code"] == "neuralode"}


def test_targets_are_met(found):
    targets = found[0]["targets"]
    assert len(targets) == 4
    assert [target for target in targets if not target["value"] <= target["bound"]] == []


def test_every_gradient_has_a_row_and_nothing_fails_in_silence(found):
    rows = ours(found[0]["costs"]["vdp"])
    assert {"direct", "discrete", "checkpointed", "backsolve", "reversible"} <= set(rows)
    assert [name for name, row in rows.items() if (row["error"] is None) != bool(row["note"])] == []
    # 1e-2: a hundred times the tolerance, for what stretches an error by that along the path
    assert max(row["error"] for row in rows.values() if row["error"] is not None) < 1e-2


def test_contraction_is_told(found):
    """What walks the path back drifts, and raises or is wrong; what does not is as right as its steps."""
    rows = ours(found[0]["drift"]["contracting"])
    assert rows["backsolve"]["drift"] > 1e3 and rows["backsolve"]["error"] > 0.05
    assert rows["reversible"]["error"] is None and "misses y0" in rows["reversible"]["note"]
    for name in ("direct", "discrete", "checkpointed"):
        assert rows[name]["drift"] is None and rows[name]["error"] < 0.02  # ten tolerances


def test_memory_grows_as_it_should(found):
    """Of twenty and of sixty steps; what does not grow flattens the exponents of so few."""
    exponents = {row["gradient"]: row["exponent"] for row in found[0]["memory"]}
    assert exponents["direct"] > 0.9
    assert exponents["checkpointed"] < exponents["discrete"] < exponents["direct"]
    assert abs(exponents["backsolve"]) < 0.05 and abs(exponents["reversible"]) < 0.05


def test_files_and_table(found):
    _, printed, pictures = found
    assert pictures == ["gradients_costs", "gradients_drift", "gradients_memory"]
    assert "| neuralode | discrete |" in printed


def test_page_has_every_gradient_and_its_pictures():
    text = PAGE.read_text()
    assert [name for name in GRADIENTS if f'| `"{name}"` |' not in text] == []
    pictures = re.findall(r"\]\((images/[^)]+)\)", text)
    assert len(pictures) == 3 and all((PAGE.parent / picture).is_file() for picture in pictures)
