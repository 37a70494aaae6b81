"""What a run is made of: frozen, validated, to and from JSON and ``config.json``."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from pclora_lab.fields import (
    LARGEST_WHOLE,
    FieldError,
    Part,
    check_options,
    known_fields,
    option,
    options_of,
    present_names,
)
from pclora_lab.files import given_path, without_home
from pclora_lab.json_files import read_json, write_json
from pclora_lab.methods.base import SMALLEST_LR, MethodConfig, check_lr
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS, config_from_dict
from pclora_lab.tasks.settings import TaskSettings
from pclora_lab.training.lambda_override import Override, check_overrides, parse_overrides
from pclora_lab.wording import shown

__all__ = [
    "CONFIG_FORMAT",
    "RunConfig",
    "TEACHERS",
    "read_config",
    "upgrade_config",
    "write_config",
]

# Format of config.json. In the first one, which names no version, some keys had other names.
CONFIG_FORMAT = 2

TEACHERS = ("auto", "finetune", "pretrained")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
SPLITS = ("test", "validation")

_MODELS = (
    "vit_digits", "bert_glosses", "vit_scenes", "llama_glosses", "deit_tiny_patch16_224",
    "vit_small_patch16_224", "vit_base_patch16_224", "google-bert/bert-base-uncased",
)  # fmt: skip
_DATA = ("digits", "glosses", "uoft-cs/cifar10", "stanfordnlp/sst2", "stanfordnlp/imdb")
_TEACHER_RECIPE = (Part.TEACHER, Part.RECIPE)


def _check_method(value: object) -> object:
    if not isinstance(value, MethodConfig):
        raise ValueError(
            f"method is {shown(value)}: it must be a method's config, such as PCLoRAConfig(rank=8)"
        )
    return value


def _check_rate(name: str, value: object) -> object:
    check_lr(name, value)
    return value


def _trains(config: "RunConfig") -> bool:
    return METHODS[config.method.name].trains


def _takes_a_teacher(config: "RunConfig") -> bool:
    needs_one = METHODS[config.method.name].starts_from == "teacher"
    return needs_one and config.teacher != "pretrained"


@dataclass(frozen=True, kw_only=True)
class RunConfig(TaskSettings):
    """Everything that determines one run; its task, and how its data are read, stand in the bases.

    Attributes:
        model: ``vit_digits``, ``bert_glosses``, a timm or transformers name, or a folder.
        data: ``digits``, ``glosses``, a hub name, a CSV, JSON lines or parquet file, or a folder.
        img_size: side of the square input in pixels; None takes the model's own.
        max_tokens: longest text in tokens, longer ones are cut; None: 128, or the model's room.
        split_qkv: fade fused query-key-value layers as three layers.
        method: how the model is compressed or tuned.
        steps: optimizer steps of the method.
        batch_size: examples per step.
        lr: peak learning rate (warm-up, then cosine to zero); None takes the method's default.
        weight_decay: AdamW's.
        warmup: share of the steps in which the learning rate rises.
        grad_clip: largest gradient norm.
        seed: draws A, a new head and the batches.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``auto`` (bfloat16 where it gains, float16 on a GPU without it), ``float32``,
            ``bfloat16`` or ``float16``. A run keeps what ``auto`` stood for when it began.
        recompute: keep only the inputs of each block for the backward pass, which computes the rest
            again: the same numbers with less memory, in more time.
        teacher: ``auto`` fine-tunes one only where the model's head does not fit the data;
            ``finetune`` always; ``pretrained`` takes the model as given and distills features only.
        teacher_steps: optimizer steps of the teacher's fine-tuning.
        teacher_lr: its peak learning rate.
        teacher_seed: its seed; apart from ``seed`` so that runs share a teacher.
        evaluations: how often both accuracies are measured after the start (at most once per logged
            row, of which there are 120 to 239); None: 9 to 30 times, as often as a tenth of the
            training's cost allows, one half of them where λ moves.
        eval_images: validation examples for each of these measurements; None: 64 to 512, likewise.
        eval_batch_size: examples at once in them and in the final one.
        layer_metrics: measure every layer on a probe batch whenever the accuracy is measured, and
            its distance from the teacher's for 5% of the training's cost.
        snapshots: how many times the adapters are kept on the way, to look at later; 0 for never.
        snapshot_mb: most megabytes that all of them may take; fewer are kept if need be.
        log_with: trackers that are told every row and the result, such as ``wandb,mlflow``.
        overrides: λ set by hand: ``(step, λ)``, or None or "reset" instead of λ to let go.
        report_on: the split of the final accuracy; ``validation`` while choosing hyper-parameters.

    Raises:
        ValueError: a value out of its range, with the range and a cure.

    Example:
        >>> RunConfig.from_dict(RunConfig(steps=10).to_dict()).steps
        10
    """

    model: str = option(
        "vit_digits", "text", "model",
        "vit_digits, bert_glosses, a timm name, owner/name of a transformers model, or a folder",
        group="source", suggestions=_MODELS, parts=(Part.DENSE,),
    )  # fmt: skip
    data: str = option(
        "digits", "text", "data", "digits, glosses, a hub name, a table or a folder",
        group="source", suggestions=_DATA, parts=(Part.DATA,),
    )  # fmt: skip
    img_size: int | None = option(
        None, "whole", "side (px)", "side of the input in pixels (none: the model's own)",
        low=1, high=8192, optional=True, group="source", parts=_TEACHER_RECIPE,
    )  # fmt: skip
    max_tokens: int | None = option(
        None, "whole", "tokens", "longest text in tokens (none: 128, or the model's own)",
        low=1, high=2**20, optional=True, group="source", parts=_TEACHER_RECIPE,
    )  # fmt: skip
    split_qkv: bool = option(
        False, "switch", "split q, k, v", "take fused query-key-value layers as three",
        hidden=True, parts=_TEACHER_RECIPE,
    )  # fmt: skip
    method: MethodConfig = option(
        PCLoRAConfig(rank=8, init="activation_svd"), "method", "method",
        "how the model is compressed or tuned",
        group="method", parts=(Part.STUDENT, Part.AXIS), check=_check_method,
    )  # fmt: skip
    steps: int = option(
        300, "whole", "steps", "optimizer steps of the method",
        low=1, high=10**9, group="training", parts=(Part.STUDENT, Part.RECIPE), matters=_trains,
    )  # fmt: skip
    lr: float | None = option(
        None, "number", "learning rate", "peak learning rate (none: the method's default)",
        low=SMALLEST_LR, optional=True, step=1e-4, group="training",
        parts=(Part.STUDENT, Part.RECIPE, Part.AXIS), check=partial(_check_rate, "lr"),
        matters=_trains,
    )  # fmt: skip
    batch_size: int = option(
        64, "whole", "batch size", "examples per step",
        low=1, high=2**16, group="training", parts=_TEACHER_RECIPE,
    )  # fmt: skip
    weight_decay: float = option(
        0.01, "number", "weight decay", "AdamW's weight decay",
        low=0, hidden=True, parts=_TEACHER_RECIPE,
    )  # fmt: skip
    # SNELLA has a warm-up of its own.
    warmup: float = option(
        0.05, "number", "warm-up", "share of the steps in which the learning rate rises",
        low=0, high=1, hidden=True, flag="lr_warmup", parts=(Part.TEACHER,),
    )  # fmt: skip
    grad_clip: float = option(
        1.0, "number", "gradient norm", "largest gradient norm",
        low=1e-9, hidden=True, parts=(Part.TEACHER,),
    )  # fmt: skip
    seed: int = option(
        0, "whole", "seed", "seed of new weights and of the batches",
        low=0, high=LARGEST_WHOLE, group="training", parts=(Part.STUDENT, Part.RECIPE, Part.AXIS),
    )  # fmt: skip
    teacher: str = option(
        "auto", "choice", "teacher", "which dense model is the teacher",
        choices=TEACHERS, group="source", parts=(Part.DENSE, Part.RECIPE),
    )  # fmt: skip
    teacher_steps: int = option(
        600, "whole", "teacher steps", "steps of the teacher's fine-tuning",
        low=1, high=10**9, group="source", parts=_TEACHER_RECIPE, matters=_takes_a_teacher,
    )  # fmt: skip
    teacher_lr: float = option(
        2e-4, "number", "teacher's learning rate", "its peak learning rate",
        low=SMALLEST_LR, hidden=True, parts=_TEACHER_RECIPE,
        check=partial(_check_rate, "teacher_lr"),
    )  # fmt: skip
    teacher_seed: int = option(
        0, "whole", "teacher's seed", "its seed, and that of a new head",
        low=0, high=LARGEST_WHOLE, hidden=True, parts=(Part.TEACHER,),
    )  # fmt: skip
    device: str = option(
        "auto", "text", "device", "auto, cpu, cuda, cuda:1 or mps",
        group="source", parts=(Part.DENSE,),
    )  # fmt: skip
    precision: str = option(
        "auto", "choice", "precision", "precision of the training",
        choices=PRECISIONS, hidden=True, parts=(Part.TEACHER,),
    )  # fmt: skip
    recompute: bool = option(
        False, "switch", "recompute", "keep less for the backward pass, compute it again: slower",
        hidden=True, parts=(Part.OBSERVES,),
    )  # fmt: skip
    evaluations: int | None = option(
        None, "whole", "evaluations", "readings of the metrics on the way (none: planned)",
        low=1, high=10**6, optional=True, hidden=True, parts=(Part.STUDENT,),
    )  # fmt: skip
    eval_images: int | None = option(
        None, "whole", "examples", "validation examples for each of these readings (none: planned)",
        low=1, high=10**9, optional=True, hidden=True, parts=(Part.DENSE,),
    )  # fmt: skip
    eval_batch_size: int = option(
        256, "whole", "evaluation batch", "examples at once where metrics are measured", low=1,
        high=2**16, hidden=True, parts=(Part.OBSERVES,),
    )  # fmt: skip
    report_on: str = option(
        "test", "choice", "report on", "split that the final numbers are read on",
        choices=SPLITS, hidden=True, parts=(Part.DENSE, Part.AXIS),
    )  # fmt: skip
    layer_metrics: bool = option(
        True, "switch", "layer metrics", "measure every layer on a probe batch",
        hidden=True, formerly="layer_facts", parts=(Part.OBSERVES,),
    )  # fmt: skip
    snapshots: int = option(
        24, "whole", "snapshots", "how often the adapters are kept on the way",
        low=0, high=10_000, hidden=True, parts=(Part.OBSERVES,),
    )  # fmt: skip
    snapshot_mb: float = option(
        64.0, "number", "snapshots (MB)", "most megabytes that all snapshots may take",
        low=0, high=1e6, hidden=True, parts=(Part.OBSERVES,),
    )  # fmt: skip
    log_with: str | None = option(
        None, "text", "log with", "trackers that are told, such as tensorboard or wandb,trackio",
        optional=True, hidden=True, parts=(Part.OBSERVES,),
    )  # fmt: skip
    overrides: tuple[Override, ...] = option(
        (), "overrides", "λ by hand", "λ set by hand: step:λ, or step:none (or :reset) to end it",
        hidden=True, formerly="moves", parts=(Part.STUDENT,),
        check=check_overrides, parse=parse_overrides,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Validate every described field; paths become text."""
        check_options(self)
        object.__setattr__(self, "lr", self.peak_lr)

    @property
    def peak_lr(self) -> float:
        """``lr``, or the method's own where none is given."""
        return self.method.default_lr if self.lr is None else self.lr

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        return {**dataclasses.asdict(self), "method": self.method.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; a key that is missing has its default.

        A method without a name is PC-LoRA. Keys of an older version are known by their old names.

        Raises:
            ValueError: a key that no field has (with the nearest that there is), a value that its
                field can't have, or a config of a newer version.
        """
        values = known_fields(cls, _without_version(values))
        if "method" in values:
            values["method"] = _method_from_dict(values["method"])
        return cls(**values)


def _without_version(values: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(values)
    version = values.pop("version", 1)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise FieldError(
            "version", f"version is {shown(version)}: it must be a whole number from 1 on"
        )
    if version > CONFIG_FORMAT:
        raise ValueError(
            f"the config was written by a newer version of pclora_lab (format {version}, this one "
            f"reads up to {CONFIG_FORMAT}): update pclora-lab"
        )
    return values


def _method_from_dict(values: object) -> MethodConfig:
    """A method's config; errors name the place of a key in the whole."""
    if not isinstance(values, Mapping):
        raise FieldError(
            "method",
            f'method is {shown(values)}: it must be an object such as {{"name": "pclora"}}',
        )
    try:
        return config_from_dict(values)
    except FieldError as error:
        is_foreign = "name" not in values and error.field not in options_of(PCLoRAConfig)
        nameless = " (method.name is missing, which means pclora)" if is_foreign else ""
        message = str(error).removeprefix(f"{error.field}: ")
        raise FieldError("method", f"method.{error.field}: {message}{nameless}") from error
    except ValueError as error:
        raise FieldError("method", f"method: {error}") from error


def upgrade_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as an older version wrote it, under the names that its keys have now.

    Nothing is checked: what a person or a newer version wrote stays as it is.

    Example:
        >>> upgrade_config({"moves": [], "method": {"name": "svd", "spend": "energy"}})
        {'overrides': [], 'method': {'name': 'svd', 'rank_allocation': 'energy'}}
    """
    values = present_names(RunConfig, values)
    if values.get("version") in range(1, CONFIG_FORMAT + 1):
        del values["version"]
    method = values.get("method")
    if isinstance(method, Mapping) and method.get("name", "pclora") in METHODS:
        values["method"] = present_names(METHODS[method.get("name", "pclora")].Config, method)
    return values


def write_config(path: Path, config: RunConfig) -> None:
    """Write a config file, with the version of its format; paths begin with ``~`` if they can."""
    names = {"model": without_home(config.model), "data": without_home(config.data)}
    write_json(path, {"version": CONFIG_FORMAT, **config.to_dict(), **names})


def read_config(path: Path | str) -> RunConfig:
    """Read a config file, such as the ``config.json`` of a run, or that of a run's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it can't be read; names the file, the key and its place.
    """
    path = given_path(path, "the config file")
    path = path / "config.json" if path.is_dir() else path
    try:
        values = read_json(path)
        if values is None:
            raise FileNotFoundError(f"there is no config file {path}: give one, or a run's folder")
        return RunConfig.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
