"""Tests the converters and the Chainer backend on every Python and NumPy that they work with, without PyTorch.

    python tests/matrix.py [--python 3.12] [-- further arguments for pytest]

Takes the Pythons that this machine has, from the path or from pyenv, and makes a virtual environment for each with
NumPy 1.26 and NumPy 2 under build/matrix. Needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "matrix"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
TESTS = ("tests/converters", "tests/backends/chainer", "tests/inspecting/test_doctor.py")

NUMPY_1 = "1.26.4"
NUMPY_1_PYTHONS = ("3.10", "3.11", "3.12")  # those that it has wheels for
NUMPY_2_ONLY = ("numpy", "opencv-python-headless")  # pinned in constraints.txt to releases that are for NumPy 2


class Result(NamedTuple):
    """A row of the table."""

    python: str
    numpy: str
    passed: str = ""
    failed: str = ""
    skipped: str = ""
    seconds: str = ""
    verdict: str = ""


def main() -> int:
    """Runs every cell and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only this one; may be repeated")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    arguments = parser.parse_args()

    results = []
    for version in arguments.python or PYTHONS:
        python = find_python(version)
        if python is None:
            results.append(Result(version, "", verdict="not on this machine"))
            continue
        for numpy in (NUMPY_1, "2") if version in NUMPY_1_PYTHONS else ("2",):
            results.append(run_cell(version, numpy, python, arguments.pytest))
    print_table(results)
    tested = [result for result in results if result.numpy]
    return 0 if tested and all(result.verdict == "ok" for result in tested) else 1


def find_python(version: str) -> str | None:
    """Returns an interpreter of that version which runs and can make virtual environments."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
    for candidate in filter(None, map(str, filter(None, candidates))):
        # A pyenv shim is on the path for versions that are not selected too; Debian leaves ensurepip out.
        program = "import ensurepip, sys, venv; print('{}.{}'.format(*sys.version_info))"
        answer = subprocess.run([candidate, "-c", program], capture_output=True, text=True, check=False)
        if answer.stdout.strip() == version:
            return candidate
    return None


def run_cell(version: str, numpy: str, python: str, options: list[str]) -> Result:
    """Installs one environment where needed, and runs the tests in it."""
    folder = BUILD / f"python{version}-numpy{numpy}"
    log = folder / "log.txt"
    print(f"Python {version}, NumPy {numpy}: {log.relative_to(ROOT)}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        try:
            executable = install(folder, numpy, python, output)
        except subprocess.CalledProcessError:
            return Result(version, numpy, verdict="cannot be installed")
        started = time.monotonic()
        report = folder / "report.xml"
        report.unlink(missing_ok=True)
        tests = [test for test in TESTS if (ROOT / test).exists()]
        command = [executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *tests, *options]
        status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False).returncode
    found = subprocess.run(
        [executable, "-c", "import numpy; print(numpy.__version__)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    seconds = f"{time.monotonic() - started:.0f}"
    if not report.exists():
        return Result(version, found, seconds=seconds, verdict="pytest did not run")
    counts = ElementTree.parse(report).getroot().find("testsuite").attrib
    skipped, failed = int(counts["skipped"]), int(counts["failures"]) + int(counts["errors"])
    passed = int(counts["tests"]) - skipped - failed
    return Result(version, found, str(passed), str(failed), str(skipped), seconds, "ok" if status == 0 else "failed")


def install(folder: Path, numpy: str, python: str, output) -> str:
    """Makes the virtual environment, unless it is there already with the same packages; returns its interpreter."""
    executable = folder / "venv" / "bin" / "python"
    constraints = folder / "constraints.txt"
    wanted = constraints_for(numpy) + "".join(f"# {each}\n" for each in requirements())
    if (folder / "installed").exists() and (folder / "installed").read_text() == wanted:
        return str(executable)
    (folder / "installed").unlink(missing_ok=True)
    constraints.write_text(wanted)
    # Chainer's build needs an older setuptools: old pips hand the first variable to builds, new ones only the second.
    builds = str((ROOT / "build-constraints.txt").relative_to(ROOT))
    environment = {**os.environ, "PIP_CONSTRAINT": builds, "PIP_BUILD_CONSTRAINT": builds}
    pip = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [python, "-m", "venv", "--clear", str(folder / "venv")],
        [*pip, "--constraint", str(constraints), *requirements()],
        [*pip, "--no-deps", "--editable", "."],
    ):
        subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=True)
    (folder / "installed").write_text(wanted)
    return str(executable)


def requirements() -> list[str]:
    """Returns what setup.cfg asks for, with Chainer, HDF5 and the tests, without PyTorch."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    texts = (config["options"]["install_requires"], extras["chainer"], extras["hdf5"], extras["test"])
    lines = "\n".join(texts).split("\n")
    return [line for line in lines if line and re.split(r"[^\w-]", line)[0] != "torch"]


def constraints_for(numpy: str) -> str:
    """Returns constraints.txt for that NumPy."""
    text = (ROOT / "constraints.txt").read_text()
    if numpy == "2":
        return text
    kept = [line for line in text.splitlines() if line.split("==")[0] not in NUMPY_2_ONLY]
    return "\n".join([*kept, f"numpy=={numpy}"]) + "\n"


def print_table(results: list[Result]) -> None:
    """Prints the results in columns."""
    rows = [tuple(name.capitalize() for name in Result._fields), *results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(Result._fields))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
