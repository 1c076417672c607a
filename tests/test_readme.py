"""Every Python block of the README runs as it stands, and the commands that it names exist."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def code_of(section: str) -> str:
    """The blocks of a section, one after the other: a later one may use the names of an earlier one."""
    return "\n".join(BLOCK.findall(section))


TITLED = [section.partition("\n") for section in README.split("\n## ")]
SECTIONS = {title: code_of(text) for title, _, text in TITLED if BLOCK.search(text)}


def run(title: str) -> dict[str, object]:
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(SECTIONS[title], f"README.md, {title}", "exec"), names)
    return names


def test_the_three_things_that_a_user_does_are_there():
    assert len(SECTIONS) == 4


@pytest.mark.parametrize("title", [title for title in SECTIONS if title != "Solve an equation"])
def test_section_runs_and_its_training_learns(title, monkeypatch):
    losses: list[float] = []
    backward = torch.Tensor.backward
    monkeypatch.setattr(
        torch.Tensor,
        "backward",
        lambda loss, *a, **k: (losses.append(loss.item()), backward(loss, *a, **k))[1],
    )
    run(title)
    assert sum(losses[-10:]) < sum(losses[:10]) - 1.0  # 0.1 nats a step, less than each gains


def test_first_section_gives_the_gradient_that_it_states():
    names = run("Solve an equation")
    # rtol is 1e-4: the gradient is that of the steps taken, as far from the exact one as they are.
    torch.testing.assert_close(names["rate"].grad, -6 * torch.exp(torch.tensor(-1.0)), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make ([\w-]+)", README, re.MULTILINE))))
def test_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_file_linked_to_exists(link):
    assert (ROOT / link).is_file()
