"""Train the embedded segmenter: a small vision transformer on drawn scenes of digits.

``python data/vit_scenes/recipe.py`` writes ``model.safetensors`` and ``result.json`` beside itself
(about ten minutes of one CPU core). Its scenes are drawn from the training digits of
``digit_scenes``, with seeds that no other scenes have. Nothing was chosen by the test split, which
is read once.
"""

import argparse
import platform
import time
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from pclora_lab.data.images import Preprocessing
from pclora_lab.data.segmentation.batches import MaskBatches
from pclora_lab.data.segmentation.scenes import digit_scenes
from pclora_lab.data.splits import Split
from pclora_lab.json_files import write_json
from pclora_lab.models.loading import load_model
from pclora_lab.tasks.segmentation import SEMANTIC_SEGMENTATION, segmentation_loss
from pclora_lab.tensor_files import hash_of_file
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import make_accelerator
from pclora_lab.training.evaluation import evaluate
from pclora_lab.training.optimizer import optimization_steps

HERE = Path(__file__).parent


def drawn(draws: int) -> Split:
    """Scenes of the training digits, 600 of each draw."""
    parts = [digit_scenes(1000 + draw).train for draw in range(draws)]
    images, masks = (
        list(chain.from_iterable(getattr(part, side) for part in parts))
        for side in ("examples", "masks")
    )
    return Split(images, np.zeros(len(images), dtype=np.int64), masks)


def main() -> None:
    """Train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--no-test", action="store_true", help="while settings are chosen")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model = load_model("vit_scenes", pretrained=False)
    config = RunConfig(
        device="cpu", precision="float32", weight_decay=0.05, batch_size=args.batch_size
    )
    data, preprocessing = digit_scenes(), Preprocessing.of(model)
    train, validation, test = (
        MaskBatches(split, preprocessing)
        for split in (drawn(args.draws), data.validation, data.test)
    )
    accelerator = make_accelerator(config, model)

    def cross_entropy(images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        return {"loss": segmentation_loss(model(images), masks)}

    begun = time.perf_counter()
    rows = optimization_steps(
        model,
        cross_entropy,
        train,
        config,
        accelerator,
        steps=args.steps,
        peak_lr=args.lr,
        logged=range(0, args.steps, 400),
        generator=torch.Generator().manual_seed(args.seed),
    )
    for step, means in enumerate(rows, start=1):
        if means is not None:
            found = evaluate(SEMANTIC_SEGMENTATION, model, validation, accelerator)
            print(f"step {step}: loss {means['loss']:.4f}", end="  ")
            print(f"validation mIoU {found['miou']:.4f}", flush=True)
    seconds = time.perf_counter() - begun
    save_file(model.state_dict(), args.out / "model.safetensors")
    scores = {"validation": evaluate(SEMANTIC_SEGMENTATION, model, validation, accelerator)}
    if not args.no_test:
        scores["test"] = evaluate(SEMANTIC_SEGMENTATION, model, test, accelerator)
    result = {
        "command": f"python data/vit_scenes/recipe.py --steps {args.steps} --lr {args.lr} "
        f"--batch-size {args.batch_size} --draws {args.draws} --seed {args.seed}",
        **{
            f"{split}_{key}": value
            for split, found in scores.items()
            for key, value in found.items()
        },
        "test_images": len(test),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(seconds),
        "torch": torch.__version__,
        "sha256": hash_of_file(args.out / "model.safetensors"),
        "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
    }
    write_json(args.out / "result.json", result)
    print(result)


if __name__ == "__main__":
    main()
