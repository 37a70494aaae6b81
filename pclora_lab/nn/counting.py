"""Parameters, MACs and bytes of a model, counted without allocating.

A model is traced once on the meta device (no storage, no arithmetic). Every plan for a rank
(:mod:`pclora_lab.nn.sizes`) is plain arithmetic on that trace, fast enough to follow a slider."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from pclora_lab.nn.forward import Inputs, call_model, eval_mode
from pclora_lab.nn.layers.tracing import trace
from pclora_lab.nn.layers.wrappers import unwrapped
from pclora_lab.nn.surgery import count_inputs, find_embeddings, find_targets

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

__all__ = ["LayerCount", "ModelCounts", "count_macs", "count_model"]


@dataclass(frozen=True)
class LayerCount:
    """One replaceable layer and what it does for one input example.

    ``always_bias``: its low-rank stand-in has a C even where the dense layer has no bias.
    ``embedding``: a table of words, ``in_features`` of them; looking one up multiplies nothing.
    """

    name: str
    in_features: int
    out_features: int
    bias: bool
    tokens: int
    bytes_per_value: int
    always_bias: bool = True
    embedding: bool = False

    @property
    def params(self) -> int:
        """Weights and biases of the dense layer."""
        return self.in_features * self.out_features + self.out_features * self.bias

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer for one example."""
        return 0 if self.embedding else self.tokens * self.in_features * self.out_features

    @property
    def break_even_rank(self) -> int:
        """⌈in·out / (in + out)⌉: from here on A and B together are at least as large as W."""
        return -(-self.in_features * self.out_features // (self.in_features + self.out_features))

    @property
    def largest_rank(self) -> int:
        """The largest rank at which A, B and C together are smaller than the dense layer."""
        room = self.params - self.low_rank_params(0) - 1
        return max(0, room // (self.in_features + self.out_features))

    def low_rank_params(self, rank: int) -> int:
        """``r·(in + out) + out``: A, B and, where there is one, C."""
        bias = self.out_features * (self.bias or self.always_bias)
        return rank * (self.in_features + self.out_features) + bias

    def low_rank_macs(self, rank: int) -> int:
        """Multiply-accumulates of B(Ax) for one example; of a table, of B alone."""
        looked_up = 0 if self.embedding else self.in_features
        return self.tokens * rank * (looked_up + self.out_features)


@dataclass(frozen=True)
class ModelCounts:
    """A model's trace: its replaceable layers and its totals, for one input example."""

    layers: tuple[LayerCount, ...]
    params: int
    macs: int
    bytes: int

    @property
    def break_even_rank(self) -> int:
        """The smallest break-even rank of all layers: a uniform rank must stay below it."""
        return min(layer.break_even_rank for layer in self.layers)

    @property
    def largest_rank(self) -> int:
        """The largest uniform rank at which every layer shrinks."""
        return min(layer.largest_rank for layer in self.layers)


def count_model(
    model: nn.Module,
    *,
    targets: str = "blocks",
    example: Tensor | Mapping[str, Tensor] | None = None,
    embeddings: str = "dense",
) -> ModelCounts:
    """Trace a model for its shapes; see :func:`pclora_lab.nn.layers.tracing.trace`.

    Args:
        model: on any device; it is only read.
        targets: see :func:`pclora_lab.nn.surgery.find_targets`.
        example: one batch whose first dimension is 1; timm and transformers models know theirs.
        embeddings: ``low_rank`` counts the word embedding among the layers to replace.

    Raises:
        ValueError: no target, a target that never fires, or no example where one is needed.
    """
    model = unwrapped(model)
    linears = find_targets(model, targets)
    tables = find_embeddings(model) if embeddings == "low_rank" else {}

    def counts(twin: nn.Module, inputs: Inputs) -> tuple[dict[str, int], int]:
        layers = {name: twin.get_submodule(name) for name in (*linears, *tables)}
        with _flop_counter() as flops:
            return count_inputs(twin, layers, inputs), flops.get_total_flops() // 2

    tokens, macs = trace(model, example, counts)
    parameters = list(model.parameters())
    counted = [_layer_count(name, linears[name], tokens[name]) for name in linears]
    counted += [_table_count(name, table, tokens[name]) for name, table in tables.items()]
    return ModelCounts(
        layers=tuple(counted),
        params=sum(p.numel() for p in parameters),
        macs=macs,
        bytes=sum(t.numel() * t.element_size() for t in (*parameters, *model.buffers())),
    )


def count_macs(model: nn.Module, example: Tensor | Mapping[str, Tensor] | None = None) -> int:
    """Multiply-accumulates of one forward pass: linear layers, convolutions, attention products.

    Norms, activations, pooling and bilinear upsampling are left out, as in torch's own counter.

    Args:
        model: any model, also a compressed one; it is only read.
        example: one input; timm and transformers models know theirs.
    """
    model = unwrapped(model)

    def count(twin: nn.Module, inputs: Inputs) -> int:
        with eval_mode(twin), _flop_counter() as flops:
            call_model(twin, inputs)
        return flops.get_total_flops() // 2

    return trace(model, example, count)


def _flop_counter() -> "FlopCounterMode":
    # Here, because it imports triton: a tenth of the time that importing torch takes.
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False)


def _layer_count(name: str, layer: nn.Linear, tokens: int) -> LayerCount:
    return LayerCount(
        name=name,
        in_features=layer.in_features,
        out_features=layer.out_features,
        bias=layer.bias is not None,
        tokens=tokens,
        bytes_per_value=layer.weight.element_size(),
    )


def _table_count(name: str, table: nn.Embedding, tokens: int) -> LayerCount:
    return LayerCount(
        name=name,
        in_features=table.num_embeddings,
        out_features=table.embedding_dim,
        bias=False,
        tokens=tokens,
        bytes_per_value=table.weight.element_size(),
        always_bias=False,
        embedding=True,
    )
