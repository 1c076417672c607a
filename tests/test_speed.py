"""The benchmark of speed measures what it says, on its small problems."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT, PAGE = ROOT / "benchmarks" / "speed.py", ROOT / "docs" / "speed.md"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("speed")
    command = [sys.executable, str(SCRIPT), "--quick", "--problems", "P1", "P3-64", "--out", str(out)]
    command += ["--tables", "forward", "gradient", "scaling"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pictures = sorted(path.stem for path in out.glob("*.png"))
    return json.loads((out / "speed.json").read_text()), done.stdout, pictures


def test_every_row_has_figures_or_says_why_not(found):
    rows = found[0]["rows"]
    assert {row["problem"] for row in rows} == {"P1", "P3-64"}
    assert {"fused", "eager"} <= {row["contender"] for row in rows}
    assert [row for row in rows if (row["seconds"] is None) != bool(row["note"])] == []
    assert all(row["least"] <= row["seconds"] <= row["most"] for row in rows if row["seconds"])


def test_errors_are_those_of_the_tolerance(found):
    """A thousand tolerances: float32, and what stretches an error along the path."""
    rows = [row for row in found[0]["rows"] if row["mode"] == "forward" and row["error"] is not None]
    assert len(rows) >= 4
    assert [row for row in rows if not row["error"] < 1e3 * {"P1": 1e-6, "P3-64": 1e-5}[row["problem"]]] == []


def test_eager_time_grows_with_the_steps(found):
    growth = next(g for g in found[0]["scaling"] if g["scale"] == "steps" and g["contender"] == "eager")
    assert growth["sizes"] == [10, 30, 100] and len(growth["seconds"]) == 3
    assert growth["seconds"][-1] > growth["seconds"][0]


def test_tables_and_pictures(found):
    _, printed, pictures = found
    assert pictures == ["speed_errors", "speed_scaling", "speed_times"]
    assert "| eager | one for all |" in printed and "**Scaling over batch**" in printed


def test_a_target_is_judged_at_equal_error():
    sys.path.insert(0, str(SCRIPT.parent))
    from suite.measure import Point, Row, ratio, ratio_at_equal_error

    def row(factor):
        """Time falls with the cube root of the error, and is ``factor`` times another's for the same error."""
        points = [Point(e, e, factor * e ** (-1 / 3)) for e in (1e-5, 1e-4, 1e-3)]
        return Row("P", "forward", "", True, error=1e-4, seconds=1.0, ladder=points)

    assert ratio(row(5.0), row(1.0)) == 1.0
    assert math.isclose(ratio_at_equal_error(row(5.0), row(1.0)), 5.0, rel_tol=1e-9)  # rounding of a line's fit
