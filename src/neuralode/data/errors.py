"""What can be wrong with data on disk."""

from pathlib import Path


class DataError(RuntimeError):
    """A data file that is missing or is not what it should be.

    Attributes:
        path: the file.
        problem: what is wrong with it, and what was expected.
    """

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        return type(self), (self.path, self.problem)
