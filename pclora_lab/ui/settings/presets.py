"""Settings to start from, each described once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pclora_lab.data.reading.hub import hub_answers, in_hub_cache
from pclora_lab.data.sources import local_path
from pclora_lab.methods.base import MethodConfig
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.tasks.registry import key_facts
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.background import BackgroundLoop, run_once
from pclora_lab.ui.widgets.choices import Choice, Choices

__all__ = ["METHOD_PRESETS", "OWN", "PRESETS", "MethodPreset", "Preset", "PresetButtons"]
__all__ += ["preset_of", "show_start", "start_buttons", "with_preset"]

OWN = "Your data"


@dataclass(frozen=True)
class Preset:
    """Settings of a whole run.

    Attributes:
        name: on its button.
        note: below the name.
        config: the settings; None leaves them to a person.
        needs: folders of the hub's cache that a machine without a network must have.
    """

    name: str
    note: str
    config: RunConfig | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class MethodPreset:
    """Options of a method.

    Attributes:
        name: on its button.
        note: below the name.
        config: the options that it sets; the size stays.
        options: their names.
        record: in ``data/results``, what the note rests on.
    """

    name: str
    note: str
    config: MethodConfig
    options: tuple[str, ...]
    record: str


# As in data/results/starts_digits.json, whose runs took 49 to 55 s on two CPU cores.
_DIGITS = RunConfig()

# As the best of data/results/starts_deit_tiny_cifar10.json.
_CIFAR = RunConfig(
    model="deit_tiny_patch16_224",
    data="uoft-cs/cifar10",
    img_size=64,
    method=PCLoRAConfig(rank=16, init="activation_svd"),
    steps=400,
    lr=3e-3,
)

PRESETS = (
    Preset("Digits", "built in, about a minute", _DIGITS),
    Preset(
        "CIFAR-10",
        "DeiT-Tiny, from the hub",
        _CIFAR,
        ("models--timm--deit_tiny_patch16_224.fb_in1k", "datasets--uoft-cs--cifar10"),
    ),
    Preset("Text", "built in, BERT on glosses", RunConfig(model="bert_glosses", data="glosses")),
    Preset(OWN, "folder, table, hub"),
)

_STARTS = ("schedule", "fade_end", "init")

METHOD_PRESETS = (
    MethodPreset(
        "Recommended",
        "starts from activations: 65.3% on CIFAR-10",
        PCLoRAConfig(init="activation_svd"),
        _STARTS,
        "starts_deit_tiny_cifar10",
    ),
    MethodPreset(
        "Paper",
        "starts from zeros: 46.6% at the same steps",
        PCLoRAConfig(init="zeros"),
        _STARTS,
        "starts_deit_tiny_cifar10",
    ),
)

_LOOKING = "looking for huggingface.co …"
_OFFLINE = "needs a download, and huggingface.co can't be reached"


class PresetButtons:
    """The presets as buttons; the one whose settings the form has is pressed.

    Args:
        show: puts settings into the form.
        ask_for_data: leads to the field of the data.
        answers: whether the hub can be reached; asked in the background.

    Attributes:
        buttons: to display.
        search: what asks for the hub, or None.
    """

    def __init__(
        self,
        show: Callable[[RunConfig], object],
        ask_for_data: Callable[[], object],
        answers: Callable[[], bool] = hub_answers,
    ) -> None:
        self._show, self._ask_for_data, self._answers = show, ask_for_data, answers
        self.buttons = Choices(_choices(_LOOKING), label="Start from", columns=2)
        self.buttons.add_class("pclora-presets")
        self.buttons.on_press(self._press)
        self.search: BackgroundLoop | None = None
        if any(_is_missing(preset) for preset in PRESETS):
            self.search = run_once(self._look, lambda _: None)

    def _look(self) -> None:
        self.buttons.choices = _choices("" if self._answers() else _OFFLINE)

    def _press(self, name: str) -> None:
        config = next(preset.config for preset in PRESETS if preset.name == name)
        if config is None:
            self._ask_for_data()
        else:
            self._show(config)

    def mark(self, config: RunConfig | None, data: str) -> None:
        """Press the button of these settings, or none.

        Args:
            config: of the form; None where it has none that can be used.
            data: that are named in it.
        """
        chosen = None if config is None or key_facts(config.task) else replace(config, task=None)
        same = [preset.name for preset in PRESETS if preset.config == chosen is not None]
        path = local_path(data)
        is_own = not data.strip() or (path is not None and path.exists())
        self.buttons.value = same[0] if same else OWN if is_own else ""


def _is_missing(preset: Preset) -> bool:
    return bool(preset.needs) and not in_hub_cache(*preset.needs)


def _choices(why: str) -> list[Choice]:
    """The buttons.

    Args:
        why: those that need what is not on this machine can't be pressed; empty if they can.
    """
    return [
        Choice(
            value=preset.name,
            label=preset.name,
            note=preset.note,
            why=why if _is_missing(preset) else "",
        )
        for preset in PRESETS
    ]


def with_preset(config: MethodConfig, name: str) -> MethodConfig:
    """Options with those of a method preset.

    Example:
        >>> with_preset(PCLoRAConfig(rank=3, init="svd"), "Paper").init
        'zeros'
    """
    preset = next(preset for preset in METHOD_PRESETS if preset.name == name)
    values = {option: getattr(preset.config, option) for option in preset.options}
    return replace(config, **values)


def preset_of(config: MethodConfig, presets: Sequence[MethodPreset] = METHOD_PRESETS) -> str:
    """The name of the method preset that options have, or ``""``.

    Example:
        >>> preset_of(PCLoRAConfig(rank=3)), preset_of(PCLoRAConfig(init="svd"))
        ('Paper', '')
    """
    fitting = (preset for preset in presets if type(preset.config) is type(config))
    return next(
        (preset.name for preset in fitting if with_preset(config, preset.name) == config), ""
    )


def start_buttons(choose: Callable[[str], object]) -> Choices:
    """The method presets as buttons."""
    made = [Choice(value=p.name, label=p.name, note=p.note) for p in METHOD_PRESETS]
    buttons = Choices(made, label="Options of the method", columns=2)
    buttons.add_class("pclora-starts")
    buttons.on_press(choose)
    return buttons


def show_start(buttons: Choices, config: MethodConfig) -> None:
    """Press the button whose options a config has; there are none for another method."""
    fits = any(type(preset.config) is type(config) for preset in METHOD_PRESETS)
    buttons.layout.display = "" if fits else "none"
    buttons.value = preset_of(config)
