"""Every setting is described as it was: its default, its range, where a form shows it.

Records, lessons and other people's scripts rest on these; a change is meant or it is a fault. Write
them down again with ``python tests/test_settings.py`` and look at the difference.
"""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from pclora_lab.fields import options_of
from pclora_lab.methods.registry import METHODS
from pclora_lab.training.config import RunConfig

FILE = Path(__file__).parent / "fixtures" / "settings.json"
CONFIGS = {"run": RunConfig, **{name: METHODS[name].Config for name in METHODS}}
# What is only words, or a function with tests of its own.
LEFT_OUT = ("label", "help", "noun", "check", "parse", "suggestions", "matters")


def described(name):
    """Of a config: its fields as they are described, with what each has by default."""
    config = CONFIGS[name]()
    values = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    found = {}
    for field, option in options_of(CONFIGS[name]).items():
        facts = {k: v for k, v in vars(option).items() if k not in LEFT_OUT}
        found[field] = {"default": values[field], **{k: _plain(v) for k, v in facts.items() if v}}
    if name != "run":
        found["default_lr"] = config.default_lr
    return found


def _plain(value):
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return [str(v) for v in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", CONFIGS)
def test_every_setting_is_as_it_was(name):
    before = json.loads(FILE.read_text())
    assert described(name) == before[name]


def test_no_config_is_forgotten():
    assert set(json.loads(FILE.read_text())) == set(CONFIGS)


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: described(name) for name in CONFIGS}, indent=1) + "\n")
