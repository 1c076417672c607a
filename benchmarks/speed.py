"""How fast, and how right? neuralode beside torchdiffeq, torchode, diffrax and SciPy, in one process on one thread.

Usage: python speed.py [--problems P1 P2 ...] [--tables forward gradient first scaling threads] [--quick]
                       [--threads N] [--device cpu] [--dtype float32] [--out FOLDER]

Prints Markdown tables, and writes speed.json and pictures into the folder:
  forward, gradient  processor time in interleaved rounds (median, least, most) and the error of each contender; how
                     many times as long as fused it takes at the same tolerance, and at the same error
  first              seconds of the first call in a fresh process, with an empty cache on disk and with a filled one
  scaling            time and memory over batch, state and steps, with the exponent of the last decade
  threads            time on the wall on one and on two threads
and which targets are met. Every peer takes part that is installed (the extra `bench` has all). --quick: small, under a
minute.
"""

import argparse
import os
import sys
from pathlib import Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", metavar="P", help="P1 … P8, or one of a kind as P3-64; all")
    parser.add_argument(
        "--tables", nargs="+", metavar="T", help="forward gradient first scaling threads; all"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument(
        "--child", nargs="+", help=argparse.SUPPRESS
    )  # what tables run in processes of their own
    return parser.parse_args()


def limit_threads(threads: int) -> None:
    """Before anything is imported that reads them once."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    elif hasattr(os, "sched_setaffinity"):  # XLA takes all processors that it may run on
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def main() -> None:
    options = arguments()
    limit_threads(options.threads)
    sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))
    from suite.run import run

    run(options)


if __name__ == "__main__":
    main()
