"""The script of a run makes the same run."""

import json

import pytest

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.runs.as_python import as_python
from pclora_lab.training.config import RunConfig

SCHEDULE = ((0.0, 1.0), (0.2, 0.7), (0.6, 0.0))
CONFIGS = {
    "defaults": RunConfig(),
    "words": RunConfig(model='a "b" \\ c', data="/data/صور/ 'x'\n", steps=7, lr=0.25),
    "drawn": RunConfig(method=PCLoRAConfig(schedule=SCHEDULE, fade_end=0.5, alpha=1 / 3)),
    "by layer": RunConfig(method=PCLoRAConfig(rank={"blocks.0.attn.qkv": 4, "b": "25%"})),
    "by one hand": RunConfig(overrides=((3, 0.5),)),
    "by hand": RunConfig(overrides=((3, 0.5), (5, None)), device="cpu", seed=2**40),
    **{name: RunConfig(method=method.Config()) for name, method in METHODS.items()},
}


def made(text):
    """The config of a script that is not run."""
    names = {}
    exec(text.partition("*_, end")[0], names)
    return names["config"]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_script_has_the_same_config(name):
    text = as_python(CONFIGS[name])
    assert made(text) == CONFIGS[name]
    assert max(map(len, text.split("\n"))) < 100 or name == "by layer"


def test_only_what_differs_is_written():
    assert "config = RunConfig()\n" in as_python(RunConfig())
    text = as_python(RunConfig(steps=20, method=PCLoRAConfig(rank=4)))
    assert "config = RunConfig(method=PCLoRAConfig(rank=4), steps=20)\n" in text
    assert "lr=" not in as_python(CONFIGS["svd"]) and "lr=" not in text
    assert "from pclora_lab import PCLoRAConfig, RunConfig\n" in text


def test_the_script_trains_the_run(tmp_path):
    method = PCLoRAConfig(rank=4, init="svd")
    config = RunConfig(method=method, steps=3, evaluations=1, eval_images=16, device="cpu")
    names = {}
    exec(as_python(config, str(tmp_path / "runs")), names)
    assert names["end"].result["steps"] == 3
    (folder,) = (tmp_path / "runs").glob("*/config.json")
    assert RunConfig.from_dict(json.loads(folder.read_text())).method == method


@pytest.mark.parametrize(("length", "lines"), [(88, 1), (89, 3)])
def test_a_call_stands_on_one_line_of_at_most_88_characters(length, lines):
    name = "m" * (length - len('config = RunConfig(model="")'))
    text = as_python(RunConfig(model=name)).split("\n\n")[1].partition("*_")[0]
    assert len(text.splitlines()) == lines
    if lines == 1:
        assert len(text.splitlines()[0]) == 88
    else:
        assert text == f'config = RunConfig(\n    model="{name}",\n)\n'


@pytest.mark.parametrize(("length", "stays"), [(76, True), (77, False)])
def test_a_method_has_a_line_of_at_most_88_characters_or_one_for_each_value(length, stays):
    targets = "^" + "t" * (length - len('PCLoRAConfig(targets="^", rank=4)'))
    text = as_python(RunConfig(method=PCLoRAConfig(targets=targets, rank=4), steps=7))
    line = f'    method=PCLoRAConfig(targets="{targets}", rank=4),'
    broken = f'    method=PCLoRAConfig(\n        targets="{targets}",\n        rank=4,\n    ),'
    assert f"(\n{line if stays else broken}\n    steps=7,\n)\n" in text
    assert len(line) == length + 12
