"""Runs a command and prints what it took, as JSON: `python -m benchmarks.usage COMMAND...`.

A process of its own, and a small one: Linux counts the memory of whoever starts a command as the command's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main() -> int:
    """Returns the command's exit status."""
    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * 1024,
    }
    print(json.dumps(took))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
