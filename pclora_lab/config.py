"""What a run is made of: frozen, validated, to and from JSON. No logic lives here."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pclora_lab.hold import check_moves
from pclora_lab.options import check_number, check_options, known_fields, option
from pclora_lab.schedules import check_schedule

__all__ = [
    "COMPARED",
    "INITS",
    "TAPS",
    "TEACHERS",
    "LowRankConfig",
    "MethodConfig",
    "PCLoRAConfig",
    "RunConfig",
]

INITS = ("zeros", "svd", "activation_svd")
TAPS = ("linears", "blocks")
TEACHERS = ("auto", "finetune", "pretrained")
PRECISIONS = ("auto", "float32", "bfloat16")
SPLITS = ("test", "validation")
COMPARED = ("pclora", "pela", "snella", "lora", "svd", "full")


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What every method can be told.

    Attributes:
        targets: ``blocks`` for every linear layer inside the transformer blocks, or a regular
            expression that full layer names are searched with.
    """

    name: ClassVar[str] = ""
    usual_lr: ClassVar[float] = 1e-3

    targets: str = option(
        "blocks",
        "text",
        "layers",
        "'blocks' for all linear layers in the blocks, or a regular expression over names",
        hidden=True,
    )

    def __post_init__(self) -> None:
        """Validate every described field."""
        check_options(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, with the method's name."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def label(self) -> str:
        """Name and the options that are not at their default, short enough for a folder."""
        changed = [
            f"{f.name}{value}"
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default
        ]
        return "-".join([self.name, *changed])[:60]


def budget_option(default: float | None = None) -> Any:
    """A field for a share of the replaced layers; None leaves the size to another option."""
    return option(
        default,
        "number",
        "budget",
        "share of the replaced layers' parameters (or MACs) to keep or train",
        low=1e-6,
        high=1,
        optional=default is None,
        step=0.01,
        sizes=True,
    )


@dataclass(frozen=True, kw_only=True)
class LowRankConfig(MethodConfig):
    """Ranks, given or bought with a budget.

    Attributes:
        rank: r of every layer; a whole number, ``"25%"`` of each layer's break-even rank, or a
            mapping of every layer's name to its rank (kept as sorted pairs, so that configs can
            be compared and hashed).
        budget: the share of the replaced layers that is kept, in (0, 1]; overrides ``rank``.
        unit: what the budget counts, ``params`` or ``macs``.
        spend: ``uniform`` for one rank everywhere; ``energy`` spends the same budget where the
            singular values are largest.
        embeddings: ``dense`` keeps the word embedding of a text model as it is; ``low_rank``
            replaces it like a layer of the blocks, at the same rank.

    Raises:
        ValueError: a value out of its range; low-rank embeddings with ``energy``; ranks by layer
            with ``energy`` and no budget, which would choose other ranks.

    Example:
        >>> from pclora_lab import PCLoRAConfig
        >>> config = PCLoRAConfig(rank={"fc2": 8, "fc1": 4})
        >>> config.rank, config.to_dict()["rank"]
        ((('fc1', 4), ('fc2', 8)), {'fc1': 4, 'fc2': 8})
    """

    rank: int | str | Mapping[str, int | str] = option(
        16,
        "rank",
        "rank r",
        'rank, a share of break-even such as 25%, or {"layer": rank, …}',
        sizes=True,
    )
    budget: float | None = budget_option()
    unit: str = option(
        "params", "choice", "budget of", "what a budget counts", choices=("params", "macs"),
        hidden=True,
    )  # fmt: skip
    spend: str = option(
        "uniform", "choice", "spend it", "one rank for all, or by the energy of singular values",
        choices=("uniform", "energy"), sizes=True,
    )  # fmt: skip
    embeddings: str = option(
        "dense", "choice", "embeddings", "word embeddings of a text model: as is, or low-rank",
        choices=("dense", "low_rank"), hidden=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Validate; singular values of a table and of a layer can't be set against each other."""
        super().__post_init__()
        if self.embeddings == "low_rank" and self.spend == "energy":
            raise ValueError(
                'embeddings="low_rank" can\'t be combined with spend="energy": the singular '
                "values of a table of words and of a layer have no common scale; use "
                'spend="uniform"'
            )
        if self.by_layer and self.budget is None and self.spend == "energy":
            raise ValueError(
                'rank is given by layer and spend="energy" would choose other ranks: use '
                'spend="uniform" to keep the given ones, or a budget instead of ranks'
            )

    @property
    def by_layer(self) -> bool:
        """Whether every layer is given a rank of its own."""
        return isinstance(self.rank, tuple)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only; ranks by layer as an object."""
        rank = dict(self.rank) if self.by_layer else self.rank
        return {**super().to_dict(), "rank": rank}

    def label(self) -> str:
        """As of every method; ranks by layer would not fit into a name."""
        short = dataclasses.replace(self, rank=type(self).rank) if self.by_layer else self
        name, *rest = MethodConfig.label(short).split("-", 1)
        return "-".join([name, *(["r-by-layer"] if self.by_layer else []), *rest])[:60]


@dataclass(frozen=True, kw_only=True)
class PCLoRAConfig(LowRankConfig):
    """How PC-LoRA (arXiv:2406.09117) compresses a model.

    Attributes:
        schedule: name of a decay schedule, or ``(progress, λ)`` points.
        may_rise: allow drawn points at which λ grows again.
        fade_end: q in (0, 1]; from this share of the steps on, λ is 0. The paper's 0.6 is known
            at second hand only.
        alpha: α in [0, 1]; loss = α·task + (1 − α)·(feature + logit_weight·logit).
        init: ``zeros`` (the paper's), ``svd`` or ``activation_svd`` (residual starts).
        taps: which outputs the student imitates: every replaced layer (``linears``) or every
            transformer block (``blocks``). The paper leaves it open.
        logit_weight: weight of the logit distillation term; 0 leaves it out.
        temperature: T of that term.
        scale: s on the adapter, LoRA's alpha/r.
        train_norms: train the LayerNorms as well.

    Raises:
        ValueError: a value out of its range, with the range and a cure.

    Example:
        >>> PCLoRAConfig(rank=8).schedule
        'sine'
    """

    name: ClassVar[str] = "pclora"
    usual_lr: ClassVar[float] = 5e-3

    schedule: str | tuple[tuple[float, float], ...] = option(
        "sine", "schedule", "schedule λ", "how the weight of the base falls"
    )
    may_rise: bool = option(
        False, "switch", "λ may rise", "let a drawn schedule go up again on its way"
    )
    fade_end: float = option(
        0.6, "number", "fade end q", "share of the steps until λ is 0", low=0, high=1
    )
    alpha: float = option(
        0.2, "number", "task share α", "the share of the task loss", low=0, high=1
    )
    init: str = option(
        "zeros", "choice", "start A, B, C", "where the adapters start", choices=INITS, noun="start"
    )
    taps: str = option(
        "linears", "choice", "features of", "which outputs are imitated", choices=TAPS
    )
    logit_weight: float = option(
        0.0, "number", "logit weight", "weight of logit distillation", low=0, hidden=True
    )
    temperature: float = option(
        2.0, "number", "temperature", "T of logit distillation", low=1e-3, hidden=True
    )
    scale: float = option(1.0, "number", "scale s", "LoRA's alpha/r", low=1e-6, hidden=True)
    train_norms: bool = option(
        False, "switch", "train norms", "train the LayerNorms too", hidden=True
    )

    def __post_init__(self) -> None:
        """Validate; points become a tuple of pairs."""
        if not (isinstance(self.fade_end, (int, float)) and 0 < self.fade_end <= 1):
            raise ValueError(
                f"fade end q is {self.fade_end!r}: it must be in (0, 1], a share of all steps; "
                "0.6 is the usual value"
            )
        super().__post_init__()
        check_schedule(self.schedule, may_rise=self.may_rise)

    def label(self) -> str:
        """Rank or budget, schedule and start, which people vary most."""
        rank = "-by-layer" if self.by_layer else self.rank
        size = f"r{rank}" if self.budget is None else f"b{self.budget:g}"
        schedule = self.schedule if isinstance(self.schedule, str) else "drawn"
        return "-".join([size.replace("%", "pct"), schedule, self.init])


def _one_of(what: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}: use one of {', '.join(allowed)}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that determines one run.

    Attributes:
        model: ``vit_digits``, ``bert_glosses``, a timm or transformers name, or a folder.
        data: ``digits``, ``glosses``, a hub data set's name, a CSV, JSON lines or parquet file, or
            a folder of such files or of images.
        img_size: side of the square input in pixels; None takes the model's own.
        max_tokens: longest text in tokens, longer ones are cut; None takes 128, or what the model
            has room for.
        split_qkv: fade fused query-key-value layers as three layers.
        image_column: name of the image column; None guesses.
        text_column: name of the text column; None guesses.
        label_column: name of the label column; None guesses.
        method: how the model is compressed or tuned.
        steps: optimiser steps of the method.
        batch_size: examples per step.
        lr: peak learning rate (warm-up, then cosine to zero); None takes the method's usual one.
        weight_decay: AdamW's.
        warmup: share of the steps in which the learning rate rises.
        grad_clip: largest gradient norm.
        seed: draws A, a new head and the batches.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``auto`` (bfloat16 where the device computes it and the model is large enough
            to gain), ``float32`` or ``bfloat16``.
        teacher: ``auto`` fine-tunes one only where the model's head does not fit the data;
            ``finetune`` always; ``pretrained`` takes the model as given and distils features only.
        teacher_steps: optimiser steps of the teacher's fine-tuning.
        teacher_lr: its peak learning rate.
        teacher_seed: its seed; apart from ``seed`` so that runs share a teacher.
        evaluations: how often both accuracies are measured while training (at most once per
            logged row, of which there are about 120).
        eval_images: validation examples for each of these measurements.
        layer_facts: measure every layer on a probe batch; at most 5 % of the training time, but
            for the first step and the last, which are always measured.
        snapshots: how many times the adapters are kept on the way, to look at later; 0 for never.
        snapshot_mb: most megabytes that all of them may take; fewer are kept if need be.
        moves: λ set by hand, ``(step, λ)`` or ``(step, None)`` to let go; a run's history has
            them, so that it can be run again.
        report_on: the split that the final accuracy is read on; ``validation`` while choosing
            hyper-parameters, so that the test split is read once.

    Raises:
        ValueError: a value out of its range, with the range and a cure.

    Example:
        >>> RunConfig.from_dict(RunConfig(steps=10).to_dict()).steps
        10
    """

    model: str = "vit_digits"
    data: str = "digits"
    img_size: int | None = None
    max_tokens: int | None = None
    split_qkv: bool = False
    image_column: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    method: MethodConfig = field(
        default_factory=lambda: PCLoRAConfig(rank=8, init="activation_svd")
    )
    steps: int = 300
    batch_size: int = 64
    lr: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.05
    grad_clip: float = 1.0
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    teacher: str = "auto"
    teacher_steps: int = 600
    teacher_lr: float = 2e-4
    teacher_seed: int = 0
    evaluations: int = 30
    eval_images: int = 512
    report_on: str = "test"
    layer_facts: bool = True
    snapshots: int = 24
    snapshot_mb: float = 64.0
    moves: tuple[tuple[int, float | None], ...] = ()

    def __post_init__(self) -> None:
        """Validate every number and name; paths become text."""
        for name in ("model", "data"):
            object.__setattr__(self, name, str(getattr(self, name)))
        if self.lr is None:
            object.__setattr__(self, "lr", self.method.usual_lr)
        for name in ("steps", "batch_size", "teacher_steps", "evaluations", "eval_images"):
            self._whole(name, 1)
        for name in ("seed", "teacher_seed", "snapshots"):
            self._whole(name, 0)
        for name in ("img_size", "max_tokens"):
            if getattr(self, name) is not None:
                self._whole(name, 1)
        for name in ("lr", "teacher_lr", "grad_clip"):
            check_number(name, getattr(self, name), 1e-9)
        check_number("snapshot_mb", self.snapshot_mb, 0)
        object.__setattr__(self, "moves", check_moves(self.moves))
        check_number("weight_decay", self.weight_decay, 0)
        check_number("warmup", self.warmup, 0, 1)
        _one_of("teacher", self.teacher, TEACHERS)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("report_on", self.report_on, SPLITS)

    def _whole(self, name: str, low: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"{name} is {value!r}: it must be a whole number of at least {low}")

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        return {**dataclasses.asdict(self), "method": self.method.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """The inverse of :meth:`to_dict`; a method without a name is PC-LoRA.

        Raises:
            ValueError: a key that no field has, or an unknown method.
        """
        # Here, because every method builds on the configs above.
        from pclora_lab.methods import config_from_dict

        values = dict(values)
        method = config_from_dict(values.pop("method", {}))
        return cls(method=method, **known_fields(cls, values))
