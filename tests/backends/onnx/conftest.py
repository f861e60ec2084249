import importlib.util

import pytest

collect_ignore_glob = [] if all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))) else ["test_*.py"]


def pytest_report_header() -> str:
    """Says why these tests are not there."""
    return "" if not collect_ignore_glob else "tests/backends/onnx: onnx or onnxruntime is not installed"


@pytest.fixture(params=["onnxruntime", "openvino"])
def engine(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param
