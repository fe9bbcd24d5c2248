"""Kill exports at random moments: the old file or the new one is there; run by hand.

python -m tests.benchmarks.killed_exports [--times 50] [--seed 0]
"""

import argparse
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import torch

import bnconvert as bnc
from tests.exporting.writing.test_interrupted import X, in_another_process, is_of, network

#: No export of the network takes longer.
_LONGEST = 4.0


def main() -> None:
    """Kill as many exports as asked, and count what was there afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # a forked process has no other threads
    moments, counts = random.Random(given.seed), {"old": 0, "new": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        bnc.export(network(0), (X,), path)
        for number in range(given.times):
            child = in_another_process(lambda: bnc.export(network(1), (X,), path))
            time.sleep(moments.uniform(0, _LONGEST))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            new = is_of(path, network(1))
            assert new or is_of(path, network(0)), f"kill {number}: neither model"
            counts["new" if new else "old"] += 1
            if new:
                bnc.export(network(0), (X,), path)
        bnc.export(network(0), (X,), path)
        left = sorted(str(file.relative_to(folder)) for file in Path(folder).rglob("*"))
        assert left == ["m.onnx"], f"left behind: {left}"
    print(f"{counts['old']} times the old file, {counts['new']} times the new one, nothing else")


if __name__ == "__main__":
    main()
