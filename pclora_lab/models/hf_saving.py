"""``save_pretrained`` of transformers' models, for those whose layers this package has replaced.

transformers builds the architecture that config.json names and draws new weights for whatever the
file lacks, with a warning. So config.json says what was replaced, which
:mod:`pclora_lab.models.hf_quantizer` reads, and stops everybody who would not read it.
"""

import fnmatch
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pclora_lab.files import write_text
from pclora_lab.json_files import read_json, to_json
from pclora_lab.models.saved_layers import METHOD, NOTICE, describe_layers, shapes_in
from pclora_lab.models.weights import checksums_in
from pclora_lab.nn.layers.finite import check_weights_finite
from pclora_lab.nn.low_rank import LowRankEmbedding, LowRankLinear
from pclora_lab.nn.split_qkv import SplitLinear
from pclora_lab.staging import staged_folder
from pclora_lab.tensor_files import seal

__all__ = [
    "UNFINISHED",
    "OwnNames",
    "StudentFormat",
    "describe",
    "is_replaced",
    "outdated",
    "provide_students",
    "refuse_student",
    "saving_what_was_replaced",
    "student_format",
]

UNFINISHED = (
    "none, as this is a student in the middle of its training, which no from_pretrained builds. "
    "Save what compress(student) returns; or make the student again from the dense model with the "
    "same config, and read model.safetensors with safetensors.torch.load_model"
)


OwnNames = Callable[[Iterable[str]], Mapping[str, str]]


@dataclass(frozen=True)
class StudentFormat:
    """How a method's students are written down in config.json, and built from it.

    Attributes:
        describe: from a student to plain types with ``layers`` by name; None for what is none.
        build: puts empty layers into a dense model in place, given what was described, and what
            finds the names that layers have in this model, by those that they were saved under.
        finish: once the weights were read.
    """

    describe: Callable[[nn.Module], dict[str, Any] | None]
    build: Callable[[nn.Module, Mapping[str, Any], OwnNames], None]
    finish: Callable[[nn.Module], None]


_STUDENTS: dict[str, Callable[[], StudentFormat]] = {}


def provide_students(kind: str, load: Callable[[], StudentFormat]) -> None:
    """Let students be saved and opened.

    Args:
        kind: stands in config.json.
        load: called when a student is met, as its method is in a room above this one.
    """
    _STUDENTS[kind] = load


def student_format(saved: Mapping[str, Any], folder: str) -> StudentFormat | None:
    """What builds the student that a folder holds; None where it holds a finished model.

    Args:
        saved: what stands under ``quantization_config``.
        folder: where it was read, for the error.

    Raises:
        ValueError: it is a student that can't be built from a folder.
    """
    if not saved.get("unfinished"):
        return None
    told = saved.get("student")
    kind = str(told.get("kind")) if isinstance(told, Mapping) else ""
    if kind not in _STUDENTS:
        raise ValueError(f"{folder} can't be opened: it is {UNFINISHED.partition(' is ')[2]}")
    return _STUDENTS[kind]()


def refuse_student(saved: Mapping[str, Any], folder: str) -> None:
    """Refuse a student where a finished model is asked for.

    Raises:
        ValueError: says what opens it.
    """
    if student_format(saved, folder) is not None:
        raise ValueError(
            f"{folder} holds a student in the middle of its training, which from_pretrained of "
            "transformers' own classes opens (AutoModelFor…). For a finished model, save what "
            "compress(student) returns"
        )


_BUILT_AGAIN = (LowRankLinear, LowRankEmbedding, SplitLinear)

# Of save_pretrained, for push_to_hub alone.
_HUB = ("repo_id", "commit_message", "commit_description", "private", "token", "revision",
        "create_pr", "tags")  # fmt: skip


def is_replaced(model: nn.Module) -> bool:
    """Whether layers of a model are this package's, so that its own config.json tells not all."""
    return any(isinstance(m, _BUILT_AGAIN) or _is_unfinished(m) for m in model.modules())


def _is_unfinished(module: nn.Module) -> bool:
    is_ours = type(module).__module__.startswith("pclora_lab.")
    return is_ours and not isinstance(module, _BUILT_AGAIN)


def saving_what_was_replaced(save: Callable[..., None]) -> Callable[..., None]:
    """``PreTrainedModel.save_pretrained`` that also writes down which layers were replaced."""
    signature = inspect.signature(save)

    @functools.wraps(save)
    def save_pretrained(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        if not is_replaced(self):
            return save(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        del given["self"]
        return _save_replaced(functools.partial(save, self), self, **given)

    return save_pretrained


def _save_replaced(
    save: Callable[..., None],
    model: Any,
    save_directory: Any,
    push_to_hub: bool = False,
    distributed_checkpoint: bool = False,
    **options: Any,
) -> None:
    if distributed_checkpoint:
        raise ValueError(
            "distributed_checkpoint=True does not write down which layers were replaced, so the "
            "model could not be read again: leave it out"
        )
    check_weights_finite(model, "it is not saved. Train it again, with a smaller learning rate")
    folder = Path(save_directory)
    hub = {key: options.pop(key) for key in _HUB if push_to_hub and key in options}
    with staged_folder(folder, outdated=outdated(options.get("variant"))) as stage:
        save(stage, **options)
        # Else adapters alone were written, or this is not the process that writes.
        if (stage / "config.json").is_file():
            describe(model, stage)
    if push_to_hub:
        model.push_to_hub(hub.pop("repo_id", folder.name), **hub)


def describe(model: Any, folder: Path) -> None:
    """Add to a folder's config.json what was replaced in the model that was written there.

    The files of its weights get their checksums.

    Args:
        model: one of transformers'.
        folder: as its ``save_pretrained`` has just written it.

    Raises:
        ValueError: the model is quantized as well.
    """
    path = folder / "config.json"
    config = read_json(path) or {}
    if config.get("quantization_config"):
        raise ValueError(
            f"{type(model).__name__} has low-rank layers and is quantized, and config.json has "
            "room for one of the two: save it before it is quantized"
        )
    saved = {"quant_method": METHOD, **describe_layers(model)}
    # The recipe's own copy of the configuration could contradict the one around it.
    recipe = getattr(model, "pclora_recipe", None)
    saved["model"] = recipe and {k: v for k, v in recipe.items() if k != "config"}
    for file in sorted(folder.glob("*.safetensors")):
        seal(file)
    saved["tensors"] = shapes_in(sorted(folder.glob("*.safetensors")))
    saved["checksums"] = checksums_in(folder)
    saved["dtype"] = str(model.dtype).removeprefix("torch.")
    saved["dtypes"] = {
        name: str(tensor.dtype).removeprefix("torch.")
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and tensor.dtype != model.dtype
    }
    if any(_is_unfinished(module) for module in model.modules()):
        # The first is what earlier versions look for, to refuse it.
        saved |= {"unfinished": True, "student": _describe_student(model)}
        config["transformers_weights"] = UNFINISHED if saved["student"] is None else NOTICE
    elif is_replaced(model):
        config["transformers_weights"] = NOTICE
    config["quantization_config"] = saved
    write_text(path, to_json(config, indent=2, sort_keys=True) + "\n")


def _describe_student(model: nn.Module) -> dict[str, Any] | None:
    for kind, load in _STUDENTS.items():
        if (described := load().describe(model)) is not None:
            return {"kind": kind, **described}
    return None


def outdated(variant: str | None = None) -> Callable[[str], bool]:
    """Which files of an earlier save go if they are not written again, or both would be there.

    Args:
        variant: as in the names of the files.

    Example:
        >>> names = ("model-00001-of-00002.safetensors", "model.fp16.safetensors", "notes.txt")
        >>> [outdated()(name) for name in names]
        [True, False, False]
    """
    name = "model" if variant is None else f"model.{variant}"
    index = f"model.safetensors.index.{'' if variant is None else variant + '.'}json"
    patterns = (f"{name}.safetensors", f"{name}-*-of-*.safetensors", index)
    return lambda file: any(fnmatch.fnmatchcase(file, pattern) for pattern in patterns)
