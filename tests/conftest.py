"""Fixtures that several test modules use; no test waits for a network or leaves a cache behind."""

import os
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="pclora_lab_tests_")
for _name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
    os.environ.pop(_name, None)

from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402
from timm.models import VisionTransformer  # noqa: E402
from torch import nn  # noqa: E402

ROOT = Path(__file__).parents[1]
# Written by earlier versions: data, not tests.
collect_ignore = ["fixtures"]
# The models are so small that a second thread would only wait for the first.
torch.set_num_threads(1)


def pytest_unconfigure() -> None:
    """Remove this session's hub and data set cache."""
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def make_vit() -> Callable[..., VisionTransformer]:
    """Builds a small vision transformer (5 tokens, 5 classes); its biases are not zero."""

    def make(**options) -> VisionTransformer:
        sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
        torch.manual_seed(0)
        model = VisionTransformer(**{**sizes, "num_classes": 5, **options})
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(std=0.2)
        model.pretrained_cfg = {
            "input_size": (3, 16, 16),
            "num_classes": 5,
            "classifier": "head",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
        }
        return model.eval()

    return make


@pytest.fixture
def vit(make_vit) -> VisionTransformer:
    """One such model, new for every test."""
    return make_vit()


@pytest.fixture
def images() -> torch.Tensor:
    """Eight inputs of that model, ``(8, 3, 16, 16)``."""
    return torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def train_adapters() -> Callable[[nn.Module], nn.Module]:
    """Moves every A, B and C away from its start, as training would."""

    def move(student: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for name, parameter in student.named_parameters():
                if name.rpartition(".")[2] in {"A", "B", "C"}:
                    parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        return student

    return move


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data that stand beside the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not here: there is no ../shared/data")
    return folder
