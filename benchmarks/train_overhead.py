# ruff: noqa: T201
"""What does a run with `neuralode.train.fit` cost a step, beside a bare PyTorch loop? Usage: python train_overhead.py

Prints microseconds of processor time a step of both loops on the same network and batches, in one process, and what
a run folder adds.
"""

import tempfile
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from neuralode.train import Batches, Classifier, fit

STEPS, SIZE, ROUNDS = 1000, 32, 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(8, 8)


def loader() -> Batches:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS * SIZE, 8, generator=generator)
    return Batches((x, x.argmax(dim=1)), SIZE)


def bare() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    for x, y in loader():
        loss = cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def with_fit() -> None:
    fit(Classifier(network()), loader(), accelerator="cpu")


def with_folder() -> None:
    with tempfile.TemporaryDirectory() as folder:
        fit(Classifier(network()), loader(), folder, accelerator="cpu")


def microseconds(work: Callable[[], None]) -> float:
    """Processor time of a step in the fastest of some rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e6 * min(times) / STEPS


if __name__ == "__main__":
    torch.set_num_threads(1)
    alone = microseconds(bare)
    print(f"bare loop      {alone:6.0f} us a step")
    for name, work in (("fit", with_fit), ("fit, run folder", with_folder)):
        found = microseconds(work)
        print(f"{name:15}{found:6.0f} us a step, {found - alone:4.0f} us more")
