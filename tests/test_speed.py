"""The benchmark of speed measures what it says, on its small problems."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "speed.py"


def run(out, *arguments):
    """(JSON, what was printed, the pictures' names)."""
    command = [sys.executable, str(SCRIPT), "--quick", "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pictures = sorted(path.stem for path in out.glob("*.png"))
    return json.loads((out / "speed.json").read_text()), done.stdout, pictures


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run(tmp_path_factory.mktemp("speed"), "--problems", "P3-64", "--tables", "forward", "gradient")


def test_every_row_has_figures_or_says_why_not(found):
    rows = found[0]["rows"]
    assert {"fused", "eager"} <= {row["contender"] for row in rows}
    assert [row for row in rows if (row["seconds"] is None) != bool(row["note"])] == []
    assert all(row["least"] <= row["seconds"] <= row["most"] for row in rows if row["seconds"])


def test_errors_are_those_of_the_tolerance(found):
    """A few thousand tolerances: float32, and what stretches an error along the path, and its gradient."""
    errors = [row["error"] for row in found[0]["rows"] if row["error"] is not None]
    assert len(errors) >= 4 and max(errors) < 0.05


def test_tables_and_pictures(found):
    _, printed, pictures = found
    assert {"speed_errors", "speed_times"} <= set(pictures)
    assert "| eager | per sample |" in printed


@pytest.mark.slow
def test_all_tables(tmp_path):
    content, printed, pictures = run(tmp_path)
    assert "speed_scaling" in pictures and "**First call**" in printed
    growths = {(g["scale"], g["contender"]): g for g in content["scaling"]}
    steps = growths["steps", "eager"]
    assert steps["sizes"] == [10, 30, 100] and steps["seconds"][-1] > steps["seconds"][0]
    assert {row["problem"] for row in content["rows"]} == {"P1", "P3-64", "P5", "P7-van-der-Pol"}


def test_a_target_is_judged_at_equal_error():
    sys.path.insert(0, str(SCRIPT.parent))
    from suite.measure import Point, Row, ratio, ratio_at_equal_error

    def row(factor):
        """Time falls with the cube root of the error, and is ``factor`` times another's for the same error."""
        points = [Point(e, e, factor * e ** (-1 / 3)) for e in (1e-5, 1e-4, 1e-3)]
        return Row("P", "forward", "", True, error=1e-4, seconds=1.0, ladder=points)

    assert ratio(row(5.0), row(1.0)) == 1.0
    found = ratio_at_equal_error(row(5.0), row(1.0))
    assert math.isclose(found, 5.0, rel_tol=1e-9)  # rounding of a line's fit
