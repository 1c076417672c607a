"""The whole C++ text of one build."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import fx

from ..tableaus import Tableau
from . import reverse_text, tableau_text
from .effort import operations
from .emit import Emitter
from .functions import entering, function
from .graph import Program, UnsupportedError
from .lower import Lowering

CPP = Path(__file__).parent / "cpp"
LANES, LOCKSTEP = (
    ("call.hpp", "first_step.hpp", "evaluate.hpp", "tape.hpp", "clock.hpp", "knots.hpp", *loop)
    for loop in (("queue.hpp", "forward.hpp"), ("lockstep.hpp",))
)
CHEAP = 100  # vector operations of f below which two blocks of samples take turns step by step
MODERATE = 2000  # below which they do stage by stage; above, one is solved at a time
NOTHING_KEPT = ("constexpr int KEPT = 0, WIDTH = N;", "constexpr bool HOLDING = false;")
LARGEST = 100_000  # numbers of one sample that an evaluation of f may hold: more would not fit a stack


@lru_cache(maxsize=16)
def header(name: str) -> str:
    """A file of ``cpp``."""
    return (CPP / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Shape:
    """What a build is for, besides f and the method: sizes, dtype, norm, register width in bytes.

    Attributes:
        lockstep: one step size for all samples.
        graded: tolerances of each entry, rtol and atol, stand behind f's arguments of each sample.
    """

    state: int
    lanes: tuple[int, ...]
    shared: tuple[int, ...]
    dtype: torch.dtype
    sup: bool
    width: int
    lockstep: bool = False
    graded: bool = False

    @property
    def columns(self) -> int:
        """Numbers of each sample that a build is given besides its state."""
        return sum(self.lanes) + 2 * self.state * self.graded


@dataclass(frozen=True)
class Source:
    """C++ text, sizes of the gradients of shared tensors, and ``Shape.columns``."""

    text: str
    shared_sizes: tuple[int, ...] = ()
    columns: int = 0

    @property
    def key(self) -> str:
        """A name for the content."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:24]


def lowered(module: fx.GraphModule, shape: Shape, cotangent: bool) -> Program:
    """The program of f, or of its VJP."""
    kinds = ["lane"] * (2 + len(shape.lanes)) + ["uniform"] * len(shape.shared) + ["lane"] * cotangent
    program = Lowering(module, kinds, shape.dtype).program
    size = sum(each.out.size for each in program.needed())
    if size > LARGEST:
        raise UnsupportedError(
            f"f holds {size} numbers for one sample, more than the {LARGEST} that are fused: batched matrix products "
            "of the eager backend suit it better"
        )
    return program


def field_text(program: Program, shape: Shape) -> list[str]:
    """f of a block of samples."""
    emitter = Emitter(program)
    lines = emitter.body()
    emitter.write(program.outputs[0], "out")
    head = (
        "static void field(V t, const V* __restrict y, const V* a, const T* const* shared, V* __restrict out)"
    )
    return function(head, [*entering(program.inputs, shape, ()), *lines])


def write(
    body: fx.GraphModule,
    shape: Shape,
    tableau: Tableau,
    vjp: fx.GraphModule | None,
    wanted: Sequence[int],
) -> Source:
    """The text for f (and, with ``vjp``, for gradients to y0 and the inputs ``wanted``) and a method."""
    real = "float" if shape.dtype == torch.float32 else "double"
    program = lowered(body, shape, False)
    parts = [
        f"#define REAL {real}",
        f"#define BYTES {shape.width}",
        header("lanes.hpp"),
        header("math.hpp"),
        header("circular.hpp"),
        f"constexpr int N = {shape.state}, A = {shape.columns}, OWN = {sum(shape.lanes)};",
        *tableau_text.constants(tableau, shape.sup),
        header("matrix.hpp"),
        f"constexpr int64_t OPERATIONS = {operations(program)};",
        f"constexpr bool CHEAP = OPERATIONS < {CHEAP}, MODERATE = OPERATIONS < {MODERATE};",
        f"#define STAGE_BY_STAGE {int(operations(program) >= CHEAP)}",
        *field_text(program, shape),
        "static V measured(V squares);",
        "static V gathered(V sum, V scaled);",
        "static V allowed(V size, int n, const V* a, T rtol, T atol);",
    ]
    loop = LOCKSTEP if shape.lockstep else LANES
    if vjp is None:
        parts += [*NOTHING_KEPT, header("values.hpp"), *tableau_text.forward(tableau, keeping=False)]
        return Source("\n".join([*parts, *map(header, loop)]) + "\n", columns=shape.columns)
    text, sizes = reverse_text.vjp_text(lowered(vjp, shape, True), shape, wanted)
    parts += [*text, header("values.hpp"), *tableau_text.forward(tableau, keeping=True), *map(header, loop)]
    parts += [*reverse_text.sweep(tableau), header("sweep.hpp"), header("reverse.hpp")]
    return Source("\n".join(parts) + "\n", sizes, shape.columns)
