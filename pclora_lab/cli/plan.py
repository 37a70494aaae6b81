"""``pclora-lab plan``: what a rank would give, from the architecture alone."""

import argparse
from typing import Any

from pclora_lab.cli.flags import add_method_flags, add_run_flags, run_from_flags
from pclora_lab.fields import options_of
from pclora_lab.json_files import to_json
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import make_method
from pclora_lab.nn.sizes import Plan
from pclora_lab.training.config import RunConfig

__all__ = ["add_plan_flags", "run_plan"]

_INPUT = ("img_size", "max_tokens", "split_qkv")


def add_plan_flags(parser: argparse.ArgumentParser) -> None:
    """The model, its inputs, and the options of the method."""
    parser.add_argument("model", help=options_of(RunConfig)["model"].help)
    add_method_flags(parser)
    add_run_flags(parser, RunConfig(), only=_INPUT)
    help_text = "of a transformers model: text-classification, language-model, image-text, ..."
    parser.add_argument("--task", default=None, help=help_text)
    parser.add_argument(
        "--num-classes",
        type=int,
        default=10,
        help="classes of the head: 10 as for digits and CIFAR-10; 1000 for ImageNet",
    )


def run_plan(args: argparse.Namespace) -> int:
    """Print the sizes before and after; returns 0."""
    from pclora_lab.models.loading import describe_model

    config = run_from_flags(args, RunConfig(model=args.model, method=PCLoRAConfig()))
    method = make_method(config.method)
    model = describe_model(
        config.model,
        num_classes=args.num_classes,
        img_size=config.img_size,
        max_tokens=config.max_tokens,
        split_qkv=config.split_qkv,
        task=args.task,
    )
    sizes = method.plan(method.count(model), model)
    print(f"{args.model}, {method.title}, {_counted(model)}")
    _print_sizes(sizes)
    if args.json:
        options = config.method.to_dict()
        facts = {"model": args.model, "method": options, "rank": options.get("rank")}
        print(
            to_json(
                {**facts, "num_classes": args.num_classes, **sizes.to_dict()}, missing_as_null=True
            )
        )
    return 0


def _print_sizes(sizes: Plan) -> None:
    print(f"{'':12} {'parameters':>27} {'removed':>8} {'MMACs':>19} {'removed':>8}")
    for name, size in (
        ("replaced", sizes.replaced),
        ("stays dense", sizes.dense),
        ("whole model", sizes.whole_model),
    ):
        params = f"{size.params_before:,} → {size.params_after:,}"
        macs = f"{size.macs_before / 1e6:,.1f} → {size.macs_after / 1e6:,.1f}"
        print(f"{name:12} {params:>27} {size.params_removed:8.2%} {macs:>19}", end=" ")
        print(f"{size.macs_removed:8.2%}")
    print(f"break-even rank: {sizes.break_even_rank} (a rank must stay below it)")


def _counted(model: Any) -> str:
    """What one example and the head were in the count."""
    tokens = model.pclora_recipe.get("tokens")
    classes = getattr(model, "num_classes", None)
    parts = [f"a text of {tokens} tokens"] if tokens else []
    parts += [f"head with {classes} classes"] if classes else []
    return ", ".join(parts)
