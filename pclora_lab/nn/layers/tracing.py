"""Run a model for its shapes alone: on the meta device, or on zeros that take no memory."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pclora_lab.nn.forward import Inputs, call_model, example_input
from pclora_lab.nn.layers.copying import copied, meta_copy, results_in
from pclora_lab.quiet import quiet

__all__ = ["trace", "try_input"]

Result = TypeVar("Result")


def trace(
    model: nn.Module, example: Inputs | None, run: Callable[[nn.Module, Inputs], Result]
) -> Result:
    """Let ``run`` see a twin of the model that has its shapes, and an input for it.

    The twin is on the meta device: no storage, no arithmetic. Some models look at values in their
    forward (where padding is, which tokens end a text); their twin is on the CPU, and each of its
    parameters is one zero that is read as often as there are elements.

    Args:
        model: on any device; it is only read.
        example: one batch; None takes what the model says that it takes.
        run: is called with the twin and its input, a second time where the first one failed.

    Example:
        >>> trace(nn.Linear(4, 2), torch.zeros(3, 4), lambda twin, x: twin(x).shape)
        torch.Size([3, 2])
    """
    try:
        return run(meta_copy(model), _on_meta(model, example))
    except (RuntimeError, ValueError, TypeError):  # what a look at values may end in
        # Plain products, because torch counts nothing in the fused attention of a CPU.
        with sdpa_kernel(SDPBackend.MATH), quiet(), torch.device("cpu"):
            zeros = example_input(model, "cpu") if example is None else _on_cpu(example)
            return run(_hollow_copy(model), zeros)


def try_input(model: nn.Module) -> None:
    """Run a model in eval mode on the input that it says it takes, without arithmetic.

    Raises:
        RuntimeError: whatever its forward raises, also of other kinds.
    """

    def run(twin: nn.Module, inputs: Inputs) -> Tensor:
        return call_model(twin.eval(), inputs)

    with torch.no_grad():
        trace(model, None, run)


def _on_meta(model: nn.Module, example: Inputs | None) -> Inputs:
    example = example_input(model, "meta") if example is None else example
    if isinstance(example, Tensor):
        return example.to("meta")
    # Without storage nobody can look into a mask; a full one is the same work.
    return {key: value.to("meta") for key, value in example.items() if key != "attention_mask"}


def _on_cpu(example: Inputs) -> Inputs:
    def move(value: Tensor) -> Tensor:
        return (
            torch.zeros(value.shape, dtype=value.dtype, device="cpu")
            if value.is_meta
            else value.cpu()
        )

    if isinstance(example, Tensor):
        return move(example)
    return {key: move(value) for key, value in example.items()}


def _hollow_copy(model: nn.Module) -> nn.Module:
    """The same architecture on the CPU, with zeros for weights that are stored once each."""
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        zeros = torch.zeros((), dtype=parameter.dtype, device="cpu").expand(parameter.shape)
        memo[id(parameter)] = nn.Parameter(zeros, requires_grad=False)
    for tensor in (*model.buffers(), *results_in(model)):
        memo[id(tensor)] = (
            torch.zeros(tensor.shape, dtype=tensor.dtype, device="cpu")
            if tensor.is_meta
            else tensor.detach().to("cpu", copy=True)
        )
    return copied(model, memo)
