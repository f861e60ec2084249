"""The documentation as a site: every page is in it, and no link of it leads nowhere."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    needed = ("mkdocs", "mkdocs_click", "material", "mkdocstrings")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages == {path.stem for path in site.glob("*.html")} - {"404"}
    assert pages == set(re.findall(r": (\S+)\.md$", (ROOT / "mkdocs.yml").read_text(), re.M))


def test_every_command_is_in_it(site):
    from deeppose_port.cli import cli

    page = (site / "commands.html").read_text()
    assert {name for name in cli.commands if f"deeppose-port {name}" not in page} == set()


def test_what_the_library_promises_is_in_it(site):
    import converters
    import deeppose_port

    page = (site / "api.html").read_text()
    for name in ("load", "Pose"):
        assert name in deeppose_port.__all__
        assert f'id="deeppose_port.{name}"' in page
    for name in ("read", "convert", "inspect", "Checkpoint", "DeepPoseError"):
        assert name in converters.__all__
        assert f'id="converters.{name}"' in page


def test_nothing_is_fetched_from_other_hosts(site):
    for page in site.glob("*.html"):
        fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert fetched == [], page.name
