"""What is installed on both sides of a widget, and what does not fit together."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pclora_lab.cli.disk import disk_facts
from pclora_lab.json_files import read_json

__all__ = ["examine"]

_KERNEL = ("torch", "timm", "transformers", "accelerate", "peft", "datasets", "plotly",
           "anywidget")  # fmt: skip
_WIDGETS = ("ipywidgets", "ipykernel", "jupyterlab", "jupyterlab_widgets")
# Python package in the kernel → its half in JupyterLab, and which majors understand each other.
_PAIRS = {
    "ipywidgets": ("@jupyter-widgets/jupyterlab-manager", {"7": "3", "8": "5"}),
    "anywidget": ("anywidget", {"0": "0"}),
}


def examine(root: Path | str = "runs") -> dict[str, Any]:
    """Collect facts and problems.

    Args:
        root: folder of runs whose size on the disk is counted.

    Returns:
        ``facts``: name → text. ``problems``: sentences, each with a cure; empty if all is well.
    """
    facts: dict[str, str] = {"python": sys.version.split()[0]}
    problems: list[str] = []
    for package in (*_KERNEL, *_WIDGETS):
        installed = _version(package)
        facts[package] = installed or "missing"
        if installed is None:
            problems.append(f"{package} is not installed: pip install {package}")
    _browser_side(facts, problems)
    _device(facts, problems)
    _checkpoint(facts, problems)
    _plugins(facts, problems)
    facts |= disk_facts(root)
    return {"facts": facts, "problems": problems}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _browser_side(facts: dict[str, str], problems: list[str]) -> None:
    """Compare the kernel's widget packages with the extensions that JupyterLab serves."""
    for package, (extension, partners) in _PAIRS.items():
        served, here = _extension_version(extension), facts[package]
        facts[f"JupyterLab's {extension}"] = served or "missing"
        if served is None:
            problems.append(
                f"JupyterLab has no extension {extension}: widgets stay blank. pip install "
                f"{package} into the environment that runs JupyterLab."
            )
        elif partners.get(here.split(".")[0], served.split(".")[0]) != served.split(".")[0]:
            problems.append(
                f"the kernel has {package} {here}, JupyterLab serves {extension} {served}: 'model "
                "not found' is what that looks like. Install the same release on both sides."
            )


def _extension_version(name: str) -> str | None:
    from jupyter_core.paths import jupyter_path

    for folder in jupyter_path("labextensions"):
        package = Path(folder) / name / "package.json"
        if package.is_file():
            return (read_json(package) or {}).get("version")
    return None


def _device(facts: dict[str, str], problems: list[str]) -> None:
    import torch

    from pclora_lab.training.device import available_devices
    from pclora_lab.training.precision import has_bfloat16

    devices = available_devices()
    facts["devices"] = ", ".join(devices)
    facts["bfloat16 on " + devices[0]] = "yes" if has_bfloat16(torch.device(devices[0])) else "no"
    facts["torch threads"] = str(torch.get_num_threads())
    if devices == ["cpu"] and Path("/proc/driver/nvidia/version").exists():
        problems.append(
            "there is an NVIDIA driver, but torch sees no GPU: the build of torch is for the CPU "
            f"or for another driver (torch {torch.__version__}). See pytorch.org, 'Get started'."
        )


def _checkpoint(facts: dict[str, str], problems: list[str]) -> None:
    from pclora_lab.files import data_dir
    from pclora_lab.models.embedded import EMBEDDED, check_embedded

    for name in EMBEDDED:
        path = data_dir(name) / "model.safetensors"
        facts[f"checkpoint {name}"] = "found"
        try:
            check_embedded(name)
        except (OSError, ValueError) as error:
            facts[f"checkpoint {name}"] = "damaged" if path.is_file() else "missing"
            problems.append(str(error))


def _plugins(facts: dict[str, str], problems: list[str]) -> None:
    """What other packages add, and which of it can't be used."""
    from pclora_lab.export.formats import FORMATS
    from pclora_lab.methods.pclora.schedules import SCHEDULES
    from pclora_lab.methods.registry import METHODS
    from pclora_lab.tasks.registry import TASKS

    for registry in (METHODS, TASKS, SCHEDULES, FORMATS):
        facts[f"added to {registry.group}"] = ", ".join(registry.added) or "nothing"
        problems.extend(str(problem) for problem in registry.problems)
