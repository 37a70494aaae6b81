"""Train the embedded model: a small vision transformer on scikit-learn's digits.

``python data/vit_digits/recipe.py`` writes ``model.safetensors`` and ``result.json`` beside
itself (about three minutes on two CPU cores). Images are shifted by up to one pixel while training;
the number of steps was chosen on the validation split, and the test split is read once.
"""

import argparse
import platform
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from pclora_lab.data.images import Preprocessing
from pclora_lab.data.loading import load_data
from pclora_lab.json_files import write_json
from pclora_lab.models.loading import load_model
from pclora_lab.tensor_files import hash_of_file
from pclora_lab.training.config import RunConfig
from pclora_lab.training.device import make_accelerator
from pclora_lab.training.evaluation import accuracy
from pclora_lab.training.optimizer import optimization_steps

HERE = Path(__file__).parent


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move every image by −1, 0 or 1 pixel both ways; the background fills in."""
    padded = F.pad(images, (1, 1, 1, 1), value=-1.0)
    down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
    return padded[..., down : down + 8, right : right + 8]


def main() -> None:
    """Train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model = load_model("vit_digits", pretrained=False)
    config = RunConfig(device="cpu", precision="float32", weight_decay=0.05)
    data = load_data("digits")
    preprocessing = Preprocessing.of(model)
    train, validation, test = (
        preprocessing.batches(split) for split in (data.train, data.validation, data.test)
    )
    accelerator = make_accelerator(config, model)
    generator = torch.Generator().manual_seed(args.seed)

    def cross_entropy(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = model(shift(images, generator))
        return {"loss": F.cross_entropy(logits, labels, label_smoothing=0.1)}

    rows = optimization_steps(
        model,
        cross_entropy,
        train,
        config,
        accelerator,
        steps=args.steps,
        peak_lr=args.lr,
        logged=range(0, args.steps, 500),
        generator=generator,
    )
    for step, means in enumerate(rows, start=1):
        if means is not None:
            print(f"step {step}: loss {means['loss']:.4f}", end="  ")
            print(f"validation accuracy {accuracy(model, validation, accelerator):.4f}")
    save_file(model.state_dict(), args.out / "model.safetensors")
    result = {
        "command": f"python data/vit_digits/recipe.py --steps {args.steps} --lr {args.lr} "
        f"--seed {args.seed}",
        "validation_accuracy": accuracy(model, validation, accelerator),
        "test_accuracy": accuracy(model, test, accelerator),
        "test_images": len(test),
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
        "sha256": hash_of_file(args.out / "model.safetensors"),
        "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
    }
    write_json(args.out / "result.json", result)
    print(result)


if __name__ == "__main__":
    main()
