"""What a run says of itself: how it is doing, who runs it, and with which versions."""

import platform
import time
from importlib.metadata import PackageNotFoundError, version

import pytest

from pclora_lab.json_files import read_json
from pclora_lab.machine import this_process
from pclora_lab.runs.durable import status
from pclora_lab.runs.durable.status import set_status, versions


def test_versions_are_of_python_the_platform_and_what_determines_a_result():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["platform"] == platform.platform()
    assert {"torch", "timm", "transformers", "safetensors", "numpy"} <= found.keys()
    assert found["torch"] == version("torch")


def test_a_package_that_is_not_there_has_no_version_and_the_others_have(monkeypatch):
    def known(package):
        if package == "timm":
            raise PackageNotFoundError(package)
        return "1.0"

    before = versions()
    monkeypatch.setattr(status, "version", known)
    assert before.keys() - versions().keys() == {"timm"}


@pytest.mark.parametrize("error", [None, "RuntimeError: no memory"])
def test_a_status_names_its_process_and_when_it_was_written(tmp_path, error):
    before = time.time()
    set_status(tmp_path, "failed", *([error] if error else []))
    found = read_json(tmp_path / "status.json")
    assert before <= found.pop("time") <= time.time()
    assert found == {"status": "failed", "error": error, **this_process()}
