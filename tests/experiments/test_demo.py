"""The demo at a tiny budget, and the page it writes."""

import re

import pytest

from neuralode.experiments import demo
from neuralode.experiments.report import Section, Table, write_report


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    scale = demo.Scale(digits_epochs=1, flow_steps=40, flow_width=4, spirals=20, spiral_epochs=1)
    return demo.run(tmp_path_factory.mktemp("demo"), scale)


def test_tables(made):
    depth, dial, flows, series = made.tables
    assert [row[0] for row in depth.rows] == ["ODE-Net", "RK-Net", "ResNet"]
    assert [float(row[0]) for row in dial.rows] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    assert int(dial.rows[-1][2]) > int(dial.rows[0][2])
    assert len(flows.rows) == 4 and len(series.rows) == 6
    assert [row[4] for row in series.rows] == ["0.1642", "0.3937", "0.1502", "0.3202", "0.1346", "0.1813"]
    for table in made.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_page_needs_nothing_else(made):
    page = made.report.read_text()
    assert (
        not re.search(r"""(src|href)=["'](?!data:)""", page) and "@import" not in page and "url(" not in page
    )
    assert page.count("<img ") == 1 + 2 + 4 == page.count("data:image/png;base64,")
    for table in made.tables:
        for cell in table.rows[0]:
            assert f"<td>{cell}</td>" in page


def test_text_is_escaped(tmp_path):
    table = Table("a < b", ("x",), (("<script>",),))
    page = write_report(tmp_path / "r.html", "T & T", ["1 < 2"], [Section("S", tables=(table,))]).read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "T &amp; T" in page
