"""Tests on every Python here, and with the oldest and the newest of everything that setup.cfg allows, without PyTorch.

    python tests/matrix.py [--python 3.12] [--packages lowest] [-- further arguments for pytest]

Takes the Pythons that this machine has, from the path or from pyenv, and makes virtual environments under
build/matrix: for each with the pinned packages, once with NumPy 1.26 and once with NumPy 2; with the oldest line of
each package that setup.cfg names on the oldest Python, and the newest on the newest. Needs the standard library alone.
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
#: With other packages than those that are pinned, what uses them too.
MORE_TESTS = ("tests/cli/test_help.py", "tests/metrics", "tests/drawing/test_plot.py")

NUMPY_1, NUMPY_2, LOWEST, NEWEST = "numpy-1", "numpy-2", "lowest", "newest"
PACKAGES = (NUMPY_1, NUMPY_2, LOWEST, NEWEST)
NUMPY_1_PYTHONS = ("3.10", "3.11", "3.12")  # those that it has wheels for
NUMPY_1_PIN = "numpy==1.26.4"
NUMPY_2_ONLY = ("numpy", "opencv-python-headless")  # pinned in constraints.txt to releases that are for NumPy 2


class Result(NamedTuple):
    """A row of the table."""

    python: str
    packages: str
    numpy: str = ""
    passed: str = ""
    failed: str = ""
    skipped: str = ""
    seconds: str = ""
    verdict: str = ""


def main() -> int:
    """Runs every cell and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only this one; may be repeated")
    parser.add_argument("--packages", action="append", choices=PACKAGES, help="only these; may be repeated")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    arguments = parser.parse_args()

    pythons = {version: find_python(version) for version in PYTHONS}
    here = [version for version, python in pythons.items() if python is not None]
    results = []
    for version in arguments.python or PYTHONS:
        python = pythons[version]
        if python is None:
            results.append(Result(version, "", verdict="not on this machine"))
            continue
        fitting = [NUMPY_1] * (version in NUMPY_1_PYTHONS) + [NUMPY_2]
        fitting += [LOWEST] * (version == here[0]) + [NEWEST] * (version == here[-1])
        for packages in fitting:
            if packages in (arguments.packages or PACKAGES):
                results.append(run_cell(version, packages, python, arguments.pytest))
    print_table(results)
    tested = [result for result in results if result.packages]
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


def run_cell(version: str, packages: str, python: str, options: list[str]) -> Result:
    """Installs one environment where needed, and runs the tests in it."""
    folder = BUILD / f"python{version}-{packages}"
    log = folder / "log.txt"
    print(f"Python {version}, {packages}: {log.relative_to(ROOT)}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        try:
            executable = install(folder, packages, python, output)
        except subprocess.CalledProcessError:
            return Result(version, packages, verdict="cannot be installed")
        started = time.monotonic()
        report = folder / "report.xml"
        report.unlink(missing_ok=True)
        tests = [*TESTS, *(MORE_TESTS if packages in (LOWEST, NEWEST) else ())]
        # Old packages deprecate nothing that is ours, but use what newer ones below them have deprecated.
        options = [*(["-W", "ignore::DeprecationWarning"] if packages == LOWEST else []), *options]
        command = [executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *tests, *options]
        status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False).returncode
    found = subprocess.run(
        [executable, "-c", "import numpy; print(numpy.__version__)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    seconds = f"{time.monotonic() - started:.0f}"
    if not report.exists():
        return Result(version, packages, found, seconds=seconds, verdict="pytest did not run")
    counts = ElementTree.parse(report).getroot().find("testsuite").attrib
    skipped, failed = int(counts["skipped"]), int(counts["failures"]) + int(counts["errors"])
    passed = int(counts["tests"]) - skipped - failed
    return Result(
        version, packages, found, str(passed), str(failed), str(skipped), seconds, "ok" if status == 0 else "failed"
    )


def install(folder: Path, packages: str, python: str, output) -> str:
    """Makes the virtual environment, unless it is there already with the same packages; returns its interpreter."""
    executable = folder / "venv" / "bin" / "python"
    constraints = folder / "constraints.txt"
    wanted = constraints_for(packages) + "".join(f"# {each}\n" for each in requirements())
    if (folder / "installed").exists() and (folder / "installed").read_text() == wanted:
        return str(executable)
    (folder / "installed").unlink(missing_ok=True)
    constraints.write_text(wanted)
    # Chainer's build needs an older setuptools: old pips hand the first variable to builds, new ones only the second.
    builds = str((ROOT / "build-constraints.txt").relative_to(ROOT))
    environment = {**os.environ, "PIP_CONSTRAINT": builds, "PIP_BUILD_CONSTRAINT": builds}
    pip = [str(executable), "-m", "pip", "install", "--quiet", "--use-pep517", "--disable-pip-version-check"]
    for command in (
        [python, "-m", "venv", "--clear", str(folder / "venv")],
        [*pip, "--constraint", str(constraints), *requirements()],
        [*pip, "--no-deps", "--editable", "."],
    ):
        subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=True)
    (folder / "installed").write_text(wanted)
    return str(executable)


def requirements() -> list[str]:
    """Returns what setup.cfg asks for, with Chainer, HDF5, ONNX and the tests, without PyTorch and playwright."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    texts = (config["options"]["install_requires"], extras["chainer"], extras["hdf5"], extras["onnx"], extras["test"])
    lines = "\n".join(texts).split("\n")
    return [line for line in lines if line and re.split(r"[^\w-]", line)[0] not in ("torch", "playwright")]


def constraints_for(packages: str) -> str:
    """Returns what is pinned: constraints.txt, or for LOWEST the oldest line of each package, for NEWEST nothing."""
    if packages == NEWEST:
        return ""
    if packages == LOWEST:
        oldest = (re.match(r"([\w-]+)>=([\d.]+)[^;]*(;.*)?", line) for line in requirements())
        return "".join(f"{found[1]}=={found[2]}.*{found[3] or ''}\n" for found in oldest if found)
    text = (ROOT / "constraints.txt").read_text()
    if packages == NUMPY_2:
        return text
    kept = [line for line in text.splitlines() if line.split("==")[0] not in NUMPY_2_ONLY]
    return "\n".join([*kept, NUMPY_1_PIN]) + "\n"


def print_table(results: list[Result]) -> None:
    """Prints the results in columns."""
    rows = [tuple(name.capitalize() for name in Result._fields), *results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(Result._fields))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
