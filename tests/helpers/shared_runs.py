"""Runs of several methods, in one process or in several that share them; in double precision."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import distributed

from pclora_lab import RunConfig, resume
from pclora_lab.data.cache import DataCache
from pclora_lab.data.images import Preprocessing
from pclora_lab.data.segmentation.batches import MaskBatches
from pclora_lab.methods import (
    FullConfig,
    LoRAConfig,
    PCLoRAConfig,
    PELAConfig,
    SNELLAConfig,
)
from pclora_lab.models.loading import load_model
from pclora_lab.runs import execute
from pclora_lab.tasks import heads, segmenters
from pclora_lab.training import StepEnd, result, setup, teacher
from pclora_lab.training.evaluation import scored
from pclora_lab.training.parallel.ranks import StoppedElsewhere

STEPS, STOP = 10, 6
CACHE = DataCache()
BASE = RunConfig(
    steps=STEPS, batch_size=8, device="cpu", precision="float32", evaluations=1, eval_images=16,
    snapshots=0, layer_metrics=False, warmup=0.2, eval_batch_size=512,
)  # fmt: skip


def of(method, **more) -> RunConfig:
    return RunConfig.from_dict({**BASE.to_dict(), "lr": 1e-3, "method": method.to_dict(), **more})


CONFIGS = {
    # Parts of four and five examples, and a teacher that is fine-tuned by both processes.
    "pclora": of(
        PCLoRAConfig(rank=4, init="svd", fade_end=0.7), batch_size=9, teacher="finetune",
        teacher_steps=4,
    ),
    "text": of(
        PCLoRAConfig(rank=4, init="svd", logit_weight=0.5), model="bert_glosses", data="glosses",
    ),
    # Parts with unequal numbers of labeled pixels.
    "pixels": of(
        PCLoRAConfig(rank=4, init="svd", logit_weight=0.5), data="digit_scenes",
        task="semantic-segmentation", teacher="finetune", teacher_steps=4,
    ),
    "pela": of(PELAConfig(repair=0.5, perturbation_weight=1.0)),
    "snella": of(SNELLAConfig(rank=4, allocations=5)),
    "lora": of(LoRAConfig(rank=4)),
    "full": of(FullConfig()),
}  # fmt: skip


@contextmanager
def in_double() -> Iterator[None]:
    """Models and images of a run in float64; what is only measured at the end is cut short."""
    normalize, scores = Preprocessing.normalize, {"accuracy": 0.5, "miou": 0.5}
    scores["pixel_accuracy"] = 0.5

    def load(*args, **kwargs):
        return load_model(*args, **kwargs).double()

    with (
        mock.patch.object(heads, "load_model", load),
        mock.patch.object(segmenters, "load_model", load),
        mock.patch.object(Preprocessing, "normalize", lambda *given: normalize(*given).double()),
        mock.patch.object(MaskBatches, "masks", half_labeled),
        mock.patch.object(result, "scored", partial(scored, limit=16)),
        mock.patch.object(result, "latency_ms", return_value=1.0),
        mock.patch.object(teacher, "evaluate", return_value=scores),
    ):
        yield


_masks = MaskBatches.masks


def half_labeled(batches: MaskBatches, indices: torch.Tensor) -> torch.Tensor:
    """Of every second image, the upper half only."""
    masks = _masks(batches, indices)
    masks[indices % 2 == 0, 4:] = 255
    return masks


def weights_of(end, name: str) -> dict[str, torch.Tensor]:
    return {f"{name}/{key}": value for key, value in end.model.state_dict().items()}


def straight(root: Path) -> dict[str, torch.Tensor]:
    """The weights of every run that is never stopped."""
    found = {}
    with in_double():
        for name, config in CONFIGS.items():
            *_, end = execute(config, root, name=name, cache=CACHE)
            found |= weights_of(end, name)
    return found


def stopped_and_resumed(root: Path) -> dict[str, torch.Tensor]:
    """The same of runs that are stopped after some steps and taken up."""
    found = {}
    with in_double():
        for name, config in CONFIGS.items():
            close_after(execute(config, root, name=name, cache=CACHE), STOP)
            *_, end = resume(root / name, cache=CACHE)
            found |= weights_of(end, name)
    return found


def close_after(run, step: int) -> None:
    """Stop a run between two steps."""
    for event in run:
        if isinstance(event, StepEnd) and event.phase == "fade" and event.step == step:
            run.close()
            return


def fails_alone(rank: int, root: Path) -> None:
    """The second process can't read the data."""
    broken = mock.patch.object(setup, "load_dense", side_effect=OSError("no such disk"))
    with broken if rank else contextlib.nullcontext():
        list(execute(CONFIGS["lora"], root, name="fails", cache=CACHE))


def stops_alone(rank: int, root: Path) -> None:
    """The second process is stopped after three steps; the first is not told."""
    run = execute(CONFIGS["lora"], root, name="stops", cache=CACHE)
    close_after(run, 3 if rank else STEPS + 1)


def differs(rank: int, root: Path) -> None:
    """Other learning rates."""
    execute(of(LoRAConfig(rank=4), lr=1e-3 * (1 + rank)), root, name="differs")


def is_small(rank: int, root: Path) -> None:
    """One example for two processes."""
    execute(of(LoRAConfig(rank=4), batch_size=1), root, name="small")


def outcome(scene, rank: int, root: Path) -> str:
    """The error that a process ends with."""
    try:
        scene(rank, root)
    except (RuntimeError, ValueError, OSError, StoppedElsewhere) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main(rank: int, folder: Path) -> None:
    """One of two processes, which find each other through a file."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    root = folder / "runs"
    save_file(stopped_and_resumed(root), folder / f"{rank}.safetensors")
    scenes = (differs, is_small, stops_alone, fails_alone)
    with in_double():
        found = {scene.__name__: outcome(scene, rank, root) for scene in scenes}
    (folder / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
