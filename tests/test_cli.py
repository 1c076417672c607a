"""The command, run in this process on small inputs."""

import gzip
import hashlib
import json

import pytest
import torch
from typer.testing import CliRunner

import neuralode
from neuralode import cli
from neuralode.experiments import demo, mnist
from neuralode.experiments.report import Table
from neuralode.train import Run


@pytest.fixture
def command():
    def call(*arguments: object):
        return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])

    return call


def idx(path, array: torch.Tensor) -> None:
    header = bytes((0, 0, 8, array.dim())) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(header + array.to(torch.uint8).numpy().tobytes()))


@pytest.fixture
def digits_folder(tmp_path, monkeypatch):
    """Twenty striped images in MNIST's format, with their own checksums in force."""
    folder = tmp_path / "data"
    folder.mkdir()
    labels = torch.arange(20) % 2
    stripes = torch.zeros(20, 28, 28)
    stripes[labels == 0, ::2] = 255
    stripes[labels == 1, :, ::2] = 255
    for part in ("train", "t10k"):
        idx(folder / f"{part}-images-idx3-ubyte.gz", stripes)
        idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    load = mnist.mnist
    monkeypatch.setattr(mnist, "mnist", lambda data, split: load(data, split, checksums=sums))
    return folder


def test_methods_lists_every_method(command):
    result = command("methods")
    assert result.exit_code == 0
    assert all(method.name in result.output for method in neuralode.methods())


def test_doctor_finds_nothing_wrong(command):
    result = command("doctor")
    assert result.exit_code == 0, result.output
    assert "failed" not in result.output
    assert "gradient, discrete, cpu" in result.output


def test_doctor_says_when_something_is_wrong(command, monkeypatch):
    monkeypatch.setattr("neuralode.experiments.doctor.END", 3.0)
    monkeypatch.setattr("neuralode.experiments.doctor._rational", lambda t, y: -y)
    result = command("doctor")
    assert result.exit_code == 1
    assert "failed" in result.output


def test_demo_prints_its_tables_and_the_report(command, monkeypatch, tmp_path):
    rows = (("ODE-Net", "0.42 %"), ("ResNet", "0.41 %"))
    found = Table("a title", ("network", "test error"), rows, frozenset({0}))
    made = demo.Demo((found,), tmp_path / "report.html", 1.0)
    monkeypatch.setattr(demo, "run", lambda out, seed, progress: made)
    result = command("demo", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    for text in ("a title", "ODE-Net", "0.42 %", str(tmp_path / "report.html")):
        assert text in result.output


def test_train_mnist_trains_refuses_and_resumes(command, digits_folder, tmp_path):
    run = tmp_path / "run"
    base = ("train", "mnist", "--data", digits_folder, "--run", run)
    first = command(*base, "--epochs", 2, "--limit", 16, "--batch", 4, "--tolerance", 0.1)
    assert first.exit_code == 0, first.output
    assert "of 20 images" in first.output
    assert json.loads((run / "config.json").read_text())["config"]["limit"] == 16

    again = command(*base)
    assert again.exit_code == 1
    assert "holds a run already" in again.output

    resumed = command(*base, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert resumed.output.splitlines()[-3] == first.output.splitlines()[-3]

    other = command(*base, "--resume", "--epochs", 3)
    assert other.exit_code == 1
    assert "epochs was 2, is 3" in other.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--limit", 0], "limit: got 0"),
        (["--epochs", 0], "epochs: got 0"),
        (["--tolerance", -1.0], "tolerance: got -1"),
        (["--resume"], "No such file"),
    ],
)
def test_wrong_arguments_end_in_a_sentence(command, digits_folder, tmp_path, arguments, sentence):
    result = command("train", "mnist", "--data", digits_folder, "--run", tmp_path / "run", *arguments)
    assert result.exit_code == 1
    assert sentence in result.output
    assert "Traceback" not in result.output


def test_missing_data_is_named(command, tmp_path):
    result = command("train", "mnist", "--data", tmp_path / "nowhere", "--run", tmp_path / "run")
    assert result.exit_code == 1
    assert "train-images-idx3-ubyte.gz" in result.output


def test_an_interrupt_says_how_to_go_on(command, monkeypatch, tmp_path):
    def stopped(*_: object, **__: object) -> Run:
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist, "run", stopped)
    result = command("train", "mnist", "--data", tmp_path, "--run", tmp_path / "run")
    assert result.exit_code == 130
    assert "--resume" in result.output
