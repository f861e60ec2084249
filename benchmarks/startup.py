"""What `deeppose-port --help` costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.timing import Row, take_turns, usage_of

ROUNDS = 5

_MODULES = """
import json, sys
from deeppose_port.cli import main
sys.argv = ["deeppose-port", "--help"]
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def run() -> list[Row]:
    """Measures the CPU time of whole processes, the least of some, and looks at what one has imported."""
    command = Path(sys.executable).with_name("deeppose-port")
    usages = take_turns(1 + ROUNDS, lambda: usage_of([str(command), "--help"]))[0]
    seconds = min(usage.cpu_seconds for usage in usages[1:])
    process = subprocess.run([sys.executable, "-c", _MODULES], capture_output=True, text=True, check=True)
    engines = {"torch", "chainer", "cupy"} & set(json.loads(process.stderr))
    return [
        Row("deeppose-port --help: CPU time", seconds, None, "s", "ours", "<=", 0.4),
        Row("deeppose-port --help: engines imported (torch, chainer, cupy)", len(engines), None, "", "ours", "<=", 0),
    ]
