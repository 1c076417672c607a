"""Tests run on one thread, their tensors being too small for two to help; the audit of all claims is summed up."""

import re
from collections import Counter

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_terminal_summary(terminalreporter):
    """Which methods have been run under which gradients, batch modes, states and dtypes."""
    names = [report.nodeid for report in terminalreporter.stats.get("passed", ()) if report.when == "call"]
    found = [re.search(r"test_matrix\[(.+)\]$", name) for name in names]
    cases = [match[1].split("-") for match in found if match]
    if not cases:
        return
    terminalreporter.section("audit: method x batch x gradient x state x dtype")
    kinds = ("methods", "batch modes", "gradients", "states", "dtypes")
    for kind, column in zip(kinds, zip(*cases, strict=True), strict=True):
        count = Counter(column)
        listed = (
            f"{len(count)} in all" if kind == "methods" else ", ".join(f"{k} {n}" for k, n in count.items())
        )
        terminalreporter.write_line(f"{kind}: {listed}")
    terminalreporter.write_line(f"{len(cases)} combinations passed")
