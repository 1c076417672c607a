"""A training that breaks off where it is told to."""

from torch import Tensor

from neuralode.train import Classifier


class Stop(RuntimeError):
    """Raised by the test inside a training step."""


class Breaking(Classifier):
    """A classifier whose training step number `at` fails before the optimiser moves."""

    def __init__(self, *args: object, at: int, **options: object) -> None:
        super().__init__(*args, **options)
        self.at = at

    def training_step(self, batch: object, index: int) -> dict[str, Tensor]:
        if self.global_step == self.at:
            raise Stop
        return super().training_step(batch, index)
