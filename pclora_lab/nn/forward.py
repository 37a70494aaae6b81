"""Run any model: inputs as a tensor or by name, an example of what it takes, hooks, eval mode."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pclora_lab.nn.metadata import pretrained_cfg_of

__all__ = [
    "Inputs",
    "call_model",
    "eval_mode",
    "example_input",
    "first_rows",
    "on_device",
    "real_tokens",
    "token_mask",
    "to_device",
    "trial_input",
    "try_inputs",
]


def call_model(model: nn.Module, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
    """Run a model on a tensor or a dict of tensors and return its logits.

    CLIP's are ``(images, texts)``, from every image to every text.
    """
    output = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    for name in ("logits", "logits_per_image"):
        output = getattr(output, name, output)
    return output[0] if isinstance(output, (tuple, list)) else output


def example_input(
    model: nn.Module, device: torch.device | str | None = None
) -> Tensor | dict[str, Tensor]:
    """One input of the shape that the model says it takes (timm and transformers models do).

    Raises:
        ValueError: the model does not say; pass an example yourself.
    """
    parameter = next(model.parameters())
    device = device if device is not None else parameter.device
    shape = _image_shape(model)
    tokens = _text_length(model)
    images = None
    if shape is not None:
        images = torch.zeros(1, *shape, device=device, dtype=parameter.dtype)
    if tokens is not None:
        texts = {
            "input_ids": _words(model, torch.zeros(1, tokens, dtype=torch.long, device="cpu")).to(
                device
            )
        }
        return texts if images is None else {**texts, "pixel_values": images}
    if images is None:
        raise ValueError(
            f"{type(model).__name__} does not say what input it takes: pass example=, one batch "
            "of real inputs"
        )
    return images


def _image_shape(model: nn.Module) -> tuple[int, ...] | None:
    shape = pretrained_cfg_of(model).get("input_size")
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if shape and size:
        return (shape[0], *size)
    if shape:
        return tuple(shape)
    described = getattr(model, "config", None)
    described = getattr(described, "vision_config", described)
    channels = getattr(described, "num_channels", None)
    side = getattr(described, "image_size", None)
    return None if channels is None or side is None else (channels, side, side)


class _TextConfig(Protocol):
    vocab_size: int


def _text_config(model: nn.Module) -> _TextConfig | None:
    """What transformers knows of a model's texts; None where it reads none."""
    config = getattr(model, "config", None)
    config = getattr(config, "text_config", config)
    return config if hasattr(config, "vocab_size") else None


def _text_length(model: nn.Module) -> int | None:
    """Tokens of one text: as loaded, else 128 or as many as there are positions."""
    config = _text_config(model)
    if config is None:
        return None
    loaded = getattr(model, "pclora_recipe", {}).get("tokens")
    positions = getattr(config, "max_position_embeddings", None)
    return loaded or (128 if positions is None or positions <= 0 else min(128, positions))


def _words(model: nn.Module, ids: Tensor) -> Tensor:
    """Texts that end as the model's tokenizer ends them, and only there."""
    end = getattr(getattr(model, "config", None), "eos_token_id", None)
    if not isinstance(end, int):
        return ids
    ids = torch.where(ids == end, ids - 1 if end > 5 else ids + 1, ids)
    ids[:, -1] = end
    return ids


@contextmanager
def eval_mode(*models: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; every module's own mode is restored after."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def forward_hooks(
    modules: Mapping[str, nn.Module], hook: Callable[[str, Tensor, Any], None]
) -> Iterator[None]:
    """Call ``hook(name, first_input, output)`` whenever one of the modules runs."""

    def named(name: str) -> Callable[..., None]:
        # The first input may have been given by name.
        return lambda module, args, kwargs, output: hook(name, (*args, *kwargs.values())[0], output)

    handles = [
        module.register_forward_hook(named(name), with_kwargs=True)
        for name, module in modules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


Inputs = Tensor | Mapping[str, Tensor]


def to_device(inputs: Inputs, device: torch.device | str | None) -> Inputs:
    """A tensor or a mapping of tensors on a device; on the way to a GPU nobody waits.

    Example:
        >>> to_device({"input_ids": torch.zeros(1, 2)}, "meta")["input_ids"].is_meta
        True
    """
    if isinstance(inputs, Tensor):
        return on_device(inputs, device)
    return {name: on_device(value, device) for name, value in inputs.items()}


def on_device(tensor: Tensor, device: torch.device | str | None) -> Tensor:
    """A tensor on a device; see :func:`to_device`.

    Example:
        >>> on_device(torch.zeros(2), None).tolist()
        [0.0, 0.0]
    """
    if device is None or not tensor.is_cpu:
        # The other way a copy must be waited for, or its numbers are read before they are there.
        return tensor.to(device)
    if torch.device(device).type == "cuda":
        # The host waits for what the GPU still does before it hands over other memory.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def first_rows(inputs: Inputs, count: int) -> Inputs:
    """The first examples of a batch.

    Example:
        >>> first_rows(torch.zeros(8, 3), 2).shape
        torch.Size([2, 3])
    """
    if isinstance(inputs, Tensor):
        return inputs[:count]
    return {name: value[:count] for name, value in inputs.items()}


def token_mask(inputs: Inputs) -> Tensor | None:
    """Where a batch of texts holds words and not padding, ``(batch, tokens)`` bool; else None.

    A model of images and texts has tokens of two kinds, so one mask can't speak for both.

    Example:
        >>> token_mask({"input_ids": torch.ones(1, 2), "attention_mask": torch.tensor([[1, 0]])})
        tensor([[ True, False]])
    """
    if isinstance(inputs, Tensor) or "pixel_values" in inputs:
        return None
    mask = inputs.get("attention_mask")
    return None if mask is None else mask.bool()


def real_tokens(x: Tensor, real: Tensor | None) -> Tensor:
    """What belongs to words and not to padding, ``(tokens, …)``; all of it where that is unknown.

    Args:
        x: ``(batch, tokens, …)``, or of another shape, which is left as it is.
        real: from :func:`token_mask`.

    Example:
        >>> real_tokens(torch.arange(4).view(2, 2), torch.tensor([[True, False], [True, True]]))
        tensor([0, 2, 3])
    """
    return x if real is None or x.shape[:2] != real.shape else x[real]


def try_inputs(model: nn.Module, examples: int = 2) -> dict[str, Tensor]:
    """Random inputs of a model's own kind and size by name; the same ones every time.

    Args:
        model: loaded by name, so that it knows its input.
        examples: size of the batch.
    """
    generator = torch.Generator().manual_seed(0)
    example = example_input(model, "cpu")
    named = {"pixel_values": example} if isinstance(example, Tensor) else example
    text = _text_config(model)
    made = {}
    for name, value in named.items():
        shape = (examples, *value.shape[1:])
        if text is None or value.is_floating_point():
            made[name] = torch.randn(shape, generator=generator, device="cpu")
        else:
            made[name] = torch.randint(5, text.vocab_size, shape, generator=generator, device="cpu")
    if "input_ids" in made and "pixel_values" not in made:
        made["attention_mask"] = torch.ones_like(made["input_ids"])
        made["input_ids"] = _words(model, made["input_ids"])
        if examples > 1:
            made["attention_mask"][0, -2:] = 0
            made["input_ids"][0] = made["input_ids"][0].roll(-2)
            made["input_ids"][0, -2:] = getattr(text, "pad_token_id", None) or 0
        if getattr(model, "pclora_recipe", {}).get("token_types"):
            made["token_type_ids"] = torch.zeros_like(made["input_ids"])
            made["token_type_ids"][:, made["input_ids"].shape[1] // 2 :] = 1
    return made


def trial_input(model: nn.Module) -> Inputs | None:
    """One random input where the model is and in its precision; None where it says nothing.

    Example:
        >>> trial_input(nn.Linear(4, 2)) is None
        True
    """
    try:
        named = try_inputs(model, 1)
    except (ValueError, StopIteration):
        return None
    named.pop("attention_mask", None)
    parameter = next(model.parameters())
    floats = {n: v.to(parameter.dtype) if v.is_floating_point() else v for n, v in named.items()}
    return to_device(as_inputs(floats), parameter.device)


def as_inputs(named: Mapping[str, Tensor]) -> Inputs:
    """What :func:`call_model` takes: images alone as a tensor."""
    return named["pixel_values"] if set(named) == {"pixel_values"} else dict(named)
