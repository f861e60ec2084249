"""Looks at what an sdist and a wheel hold.

python tests/distribution.py dist
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("converters", "deeppose_port")


def wheel_problems(wheel: Path) -> list[str]:
    """Says what a wheel lacks, and what it has that is not the packages'."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {name for name in tracked() if name.startswith(tuple(f"{package}/" for package in PACKAGES))}
    return [f"{wheel.name} lacks {name}" for name in sorted(wanted - held)] + [
        f"{wheel.name} holds {name}" for name in sorted(held - wanted)
    ]


def description_problems(wheel: Path) -> list[str]:
    """Says which links of the long description lead nowhere on an index, whose pages lie beside no other files."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    links = re.findall(r"\]\(\s*([^)\s]+)|(?:src|href)=[\"']([^\"']+)", metadata)
    return [
        f"{wheel.name}: its description links to {link}, beside it"
        for link in (first or second for first, second in links)
        if not link.startswith(("https://", "http://", "#"))
    ]


def sdist_problems(sdist: Path) -> list[str]:
    """Says what of the checkout an sdist lacks, but for what git and services on the net are configured by."""
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in tracked() if not name.startswith((".github/", ".gitignore"))}
    return [f"{sdist.name} lacks {name}" for name in sorted(wanted - held)]


def tracked() -> set[str]:
    """Returns the files of the checkout."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listing.stdout.splitlines() if (ROOT / name).is_file()}


def main() -> int:
    """Prints what is wrong with the distributions of a folder."""
    folder = Path(sys.argv[1])
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        print(f"{folder} holds {len(wheels)} wheels and {len(sdists)} sdists, not one of each")
        return 1
    problems = wheel_problems(wheels[0]) + description_problems(wheels[0]) + sdist_problems(sdists[0])
    print("\n".join(problems) or f"{wheels[0].name} and {sdists[0].name} hold what they should")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
