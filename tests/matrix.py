"""Tests on every Python here, and with the oldest and the newest of everything that setup.cfg allows.

    python tests/matrix.py [--short] [--python 3.12] [--packages lowest] [-- further arguments for pytest]

Takes the Pythons that this machine has, from the path or from pyenv, and makes virtual environments under
build/matrix: for each with the pinned packages, once with NumPy 1.26 and once with NumPy 2; with the oldest line of
each package that setup.cfg names on the oldest Python, and the newest on the newest. All that is without PyTorch, whose
wheels weigh gigabytes; `--packages whole` is the newest of everything with it, and every test.

`--short` is for every change: the oldest Python with the oldest packages and the newest with the pinned ones, as far as
they are here, and fewer tests; of packages that came out today no change shall fail. Needs the standard library alone.
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

SHORT_TESTS = (
    "tests/converters/test_reading.py",
    "tests/converters/test_conversion.py",
    "tests/converters/formats",
    "tests/backends/chainer/test_networks.py",
    "tests/backends/chainer/test_training.py",
    "tests/cli/test_help.py",
    "tests/metrics",
)

NUMPY_1, NUMPY_2, LOWEST, NEWEST, WHOLE = "numpy-1", "numpy-2", "lowest", "newest", "whole"
PACKAGES = (NUMPY_1, NUMPY_2, LOWEST, NEWEST, WHOLE)
EXTRAS = ("chainer", "hdf5", "onnx", "test")
WHOLE_EXTRAS = (*EXTRAS, "fast", "hub", "notebook", "openvino", "pandas", "parquet", "video")
NUMPY_1_PYTHONS = ("3.10", "3.11", "3.12")  # those that it has wheels for
LINES = 40  # of a log where something failed
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
    parser.add_argument("--short", action="store_true", help="the ends alone, and fewer tests")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    arguments = parser.parse_args()

    pythons = {version: find_python(version) for version in PYTHONS}
    here = [version for version, python in pythons.items() if python is not None]
    results = []
    for version in arguments.python or (PYTHONS[:: len(PYTHONS) - 1] if arguments.short else PYTHONS):
        python = pythons[version]
        if python is None:
            results.append(Result(version, "", verdict="not on this machine"))
            continue
        fitting = [NUMPY_1] * (version in NUMPY_1_PYTHONS) + [NUMPY_2]
        fitting += [LOWEST] * (version == here[0]) + [NEWEST] * (version == here[-1])
        fitting += [WHOLE] * (version == here[-1] and WHOLE in (arguments.packages or ()))
        if arguments.short:
            fitting = [LOWEST if version == PYTHONS[0] else NUMPY_2]
        for packages in fitting:
            if packages in (arguments.packages or PACKAGES):
                results.append(run_cell(version, packages, python, arguments.short, arguments.pytest))
    print_table(results)
    tested = [result for result in results if result.packages]
    for result in tested:
        if result.verdict != "ok":
            said = (folder_of(result.python, result.packages) / "log.txt").read_text(errors="replace").splitlines()
            print(f"\nPython {result.python}, {result.packages}:", *said[-LINES:], sep="\n  ")
    return 0 if (tested or arguments.short) and all(result.verdict == "ok" for result in tested) else 1


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


def folder_of(version: str, packages: str) -> Path:
    """Returns where an environment and its log are."""
    return BUILD / f"python{version}-{packages}"


def run_cell(version: str, packages: str, python: str, short: bool, options: list[str]) -> Result:
    """Installs one environment where needed, and runs the tests in it."""
    folder = folder_of(version, packages)
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
        tests = () if packages == WHOLE else SHORT_TESTS if short else TESTS
        tests += MORE_TESTS if packages in (LOWEST, NEWEST) and not short else ()
        # Old packages deprecate nothing that is ours, but use what newer ones below them have deprecated.
        options = [*(["-W", "ignore::DeprecationWarning"] if packages == LOWEST else []), *options]
        together = ("--numprocesses", "auto", "--dist", "worksteal")
        command = [executable, "-m", "pytest", "-p", "no:cacheprovider", *together, f"--junitxml={report}"]
        command += [*tests, *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # in each of the processes
        status = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=False
        ).returncode
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
    required = requirements(packages)
    wanted = constraints_for(packages) + "".join(f"# {each}\n" for each in required)
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
        [*pip, "--constraint", str(constraints), *required],
        [*pip, "--no-deps", "--editable", "."],
    ):
        subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=True)
    (folder / "installed").write_text(wanted)
    return str(executable)


def requirements(packages: str) -> list[str]:
    """Returns what setup.cfg asks for, with Chainer, HDF5, ONNX and the tests, and mostly without PyTorch.

    Browsers are not tried.
    """
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    names = WHOLE_EXTRAS if packages == WHOLE else EXTRAS
    lines = "\n".join([config["options"]["install_requires"], *(extras[name] for name in names)]).split("\n")
    left_out = ("playwright",) if packages == WHOLE else ("playwright", "torch")
    return [line for line in dict.fromkeys(lines) if line and re.split(r"[^\w-]", line)[0] not in left_out]


def constraints_for(packages: str) -> str:
    """Returns what is pinned: constraints.txt, or for LOWEST the oldest line of each, for the newest nothing."""
    if packages in (NEWEST, WHOLE):
        return ""
    if packages == LOWEST:
        oldest = (re.match(r"([\w-]+)>=([\d.]+)[^;]*(;.*)?", line) for line in requirements(packages))
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
