"""Read damaged files of every kind, at length: `python benchmarks/fuzz.py [--minutes 5] [-o FILE]`.

Prints a table of faults tried and survived by reader, and every fault that was not survived.
"""

import argparse
import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("OMP_NUM_THREADS", "1")


def known() -> list[str]:
    """Every reader."""
    return [*import_module("fuzz_files").FILES, *import_module("fuzz_models").MODELS]


def main() -> int:
    """Exit code 1 if a fault was not survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long; seed after seed")
    parser.add_argument("--flips", type=int, default=16, help="damaged copies of each kind, per file and seed")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; 0 also tries what needs no chance")
    parser.add_argument("--subjects", help="names, separated by commas")
    parser.add_argument("-o", "--out", type=Path, help="write the table here too")
    asked = parser.parse_args()
    worker: Any = import_module("fuzz_worker")
    subjects = asked.subjects.split(",") if asked.subjects else known()
    end, seed, results = time.monotonic() + 60 * asked.minutes, asked.seed, []
    with tempfile.TemporaryDirectory() as folder, worker.Reading(Path(folder)) as reading:
        while seed == asked.seed or time.monotonic() < end:
            for subject in subjects:
                if seed > asked.seed and time.monotonic() > end:
                    break
                found = reading.results(subject, seed=seed, flips=asked.flips)
                results += found
                for r in (r for r in found if not r.survived):
                    print(f"{r.subject}, {r.kind} {r.name}, seed {seed}: {r.outcome}: {r.said[:300]}", flush=True)
            seed += 1
    text = f"{worker.table(results)}\n\n{seed - asked.seed} seeds of {asked.flips} per kind\n"
    print(text)
    if asked.out:
        asked.out.write_text(text)
    return int(not all(result.survived for result in results))


if __name__ == "__main__":
    sys.exit(main())
