"""A run that was stopped and resumed is the run that was not: same losses and weights, bit for bit."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from interrupted import Breaking, Stop
from neuralode.train import Batches, Classifier, Draws, Recipe, SafeCheckpoints, fit, read_config
from neuralode.train.folder import CHECKPOINT, CONFIG, METRICS, WEIGHTS

SAMPLES, SIZE, EPOCHS = 40, 8, 3  # 5 batches an epoch, 15 steps


def noise(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


def network() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))


def data(kind: str):
    x = torch.randn(SAMPLES, 3, generator=torch.Generator().manual_seed(1))
    y = (x.sum(dim=1) > 0).long()
    if kind == "batches":
        return Batches((x, y), SIZE, seed=5)
    if kind == "draws":
        return Draws(lambda g: (r := torch.randint(SAMPLES, (SIZE,), generator=g), (x[r], y[r]))[1], steps=5)
    return DataLoader(TensorDataset(x, y), batch_size=SIZE, shuffle=True)


def recipe() -> Recipe:
    return Recipe("sgd", lr=0.1, schedule="cosine", warmup=0.2, clip=1.0)


def settings(kind: str) -> dict:
    validation = Batches((torch.ones(4, 3), torch.ones(4).long()), 4, shuffle=False)
    return {
        "loaders": (data(kind), validation),
        "epochs": EPOCHS,
        "seed": 3,
        "log_every": 1,
        "accelerator": "cpu",
    }


def losses(history: list[dict]) -> list[tuple]:
    return [(row["step"], row.get("loss"), row.get("error"), row.get("val_loss")) for row in history]


@pytest.mark.parametrize("kind", ["batches", "draws", "dataloader"])
@pytest.mark.parametrize("at", [1, 4, 5, 7, 14])
def test_resumed_run_equals_the_uninterrupted_one(tmp_path, kind, at):
    whole = Classifier(network(), recipe(), augment=noise)
    expected = fit(whole, run=tmp_path / "whole", **settings(kind))

    broken = Breaking(network(), recipe(), augment=noise, at=at)
    broken.__class__.__name__ = "Classifier"
    with pytest.raises(Stop):
        fit(broken, run=tmp_path / "broken", save_every=0.0, **settings(kind))
    torch.manual_seed(99)
    resumed = Classifier(network(), recipe(), augment=noise)
    got = fit(resumed, run=tmp_path / "broken", resume=True, **settings(kind))

    assert got.steps == expected.steps == 15
    assert losses(got.history) == losses(expected.history)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_run_stopped_by_its_budget_goes_on_where_it_stopped(tmp_path):
    whole = Classifier(network(), recipe(), augment=noise)
    expected = fit(whole, **settings("batches"))
    first = fit(
        Classifier(network(), recipe(), augment=noise), run=tmp_path, seconds=0.0, **settings("batches")
    )
    assert (first.complete, first.steps) == (False, 1)
    task = Classifier(network(), recipe(), augment=noise)
    rest = fit(task, run=tmp_path, resume=True, **settings("batches"))
    assert rest.complete
    assert [row["loss"] for row in rest.history if "loss" in row] == [
        row["loss"] for row in expected.history if "loss" in row
    ]


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    first = fit(Classifier(network(), recipe()), run=tmp_path, **settings("batches"))
    text = (tmp_path / METRICS).read_text()
    again = fit(Classifier(network(), recipe()), run=tmp_path, resume=True, **settings("batches"))
    assert again.history == first.history
    assert (tmp_path / METRICS).read_text() == text
    assert again.steps == first.steps


def test_the_folder_holds_what_is_promised_and_nothing_else(tmp_path):
    run = fit(Classifier(network(), recipe()), run=tmp_path, config={"note": "x"}, **settings("batches"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([CHECKPOINT, CONFIG, METRICS, WEIGHTS])
    assert read_config(tmp_path)["config"] == {"note": "x"}
    lines = (tmp_path / METRICS).read_text().splitlines()
    assert lines[0].startswith("step,epoch,seconds,loss,error")
    assert len(lines) == 1 + len(run.history) == 1 + 15 + 3
    assert run.last("val_error") == run.history[-1]["val_error"]


def test_a_used_folder_is_not_overwritten(tmp_path):
    fit(Classifier(network(), recipe()), run=tmp_path, **settings("batches"))
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(FileExistsError, match="holds a run already"):
        fit(Classifier(network(), recipe()), run=tmp_path, **settings("batches"))
    with pytest.raises(ValueError, match="epochs was 3, is 4"):
        fit(
            Classifier(network(), recipe()), run=tmp_path, resume=True, **{**settings("batches"), "epochs": 4}
        )
    assert (tmp_path / CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("at", [1, 4, 5, 7, 15])
def test_ctrl_c_saves_behind_the_batch_and_the_run_goes_on_there(tmp_path, at):
    whole = Classifier(network(), recipe(), augment=noise)
    expected = fit(whole, **settings("batches"))
    calls = 0

    def press(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGINT)
        return noise(x)

    listener = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(Classifier(network(), recipe(), augment=press), run=tmp_path, **settings("batches"))
    assert signal.getsignal(signal.SIGINT) is listener
    assert SafeCheckpoints().load_checkpoint(tmp_path / CHECKPOINT)["global_step"] == at
    task = Classifier(network(), recipe(), augment=noise)
    rest = fit(task, run=tmp_path, resume=True, **settings("batches"))
    assert losses(rest.history) == losses(expected.history)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), task.parameters(), strict=True))


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from torch import nn
from neuralode.train import Batches, Classifier, fit
x = torch.randn(40000, 3)
try:
    fit(Classifier(nn.Linear(3, 2)), Batches((x, (x[:, 0] > 0).long()), 4), sys.argv[1], save_every=0.0,
        progress=lambda progress: print(progress.step, flush=True))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_leaves_a_whole_checkpoint_and_no_noise(tmp_path, kill):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(kill)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == (130 if kill is signal.SIGINT else -signal.SIGKILL)
    assert errors == ""
    assert SafeCheckpoints().load_checkpoint(tmp_path / CHECKPOINT)["global_step"] >= 1
