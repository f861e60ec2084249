"""Where the tests find their golden data."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).parent / "golden"
SHARED_GOLDEN = ROOT.parent / "shared" / "golden"
PICTURES = ROOT / "examples" / "pictures"


@pytest.fixture(scope="session")
def golden() -> Path:
    """The golden data that come with the project."""
    return GOLDEN


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The three free pictures and free.csv, 13 persons of 7 joints on them."""
    return PICTURES


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """The golden data that cannot be copied into the project (other people's pictures and predictions)."""
    if not SHARED_GOLDEN.is_dir():
        pytest.skip(f"{SHARED_GOLDEN} is not here: it holds other people's pictures and predictions")
    return SHARED_GOLDEN
