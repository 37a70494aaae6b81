"""Every method on every task: a short run works, or is refused with its reason.

``python tests/tasks/test_every_method.py`` writes the table of the documentation anew.
"""

import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

HELPERS = Path(__file__).parents[1] / "helpers"
sys.path.insert(0, str(HELPERS))  # when it is run as a script

from segmenters import write_small_vit  # noqa: E402
from tiny_hf import config as config_of  # noqa: E402
from tiny_hf import tokenizer, write_model  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM  # noqa: E402

from pclora_lab.data.cache import DataCache  # noqa: E402
from pclora_lab.data.dividing import take_rows  # noqa: E402
from pclora_lab.data.splits import LabeledData, Split  # noqa: E402
from pclora_lab.data.targets.drawn import digit_turns  # noqa: E402
from pclora_lab.data.targets.words import Words  # noqa: E402
from pclora_lab.methods.registry import METHODS  # noqa: E402
from pclora_lab.runs.execution import execute  # noqa: E402
from pclora_lab.tasks.registry import BUILT_IN, named_task  # noqa: E402
from pclora_lab.training.config import RunConfig  # noqa: E402

TABLE = Path(__file__).parents[2] / "docs" / "tasks_by_methods.md"
SIZES = {"train": 32, "validation": 12, "test": 12}
# Of the tasks whose models give words.
LANGUAGE = {
    "language-modeling": (AutoModelForCausalLM, "llama"),
    "masked-language-modeling": (AutoModelForMaskedLM, "bert"),
}


def few(data):
    """The first examples of each split."""
    splits = {n: take_rows(getattr(data, n), np.arange(count)) for n, count in SIZES.items()}
    return dataclasses.replace(data, **splits, account=None)


def texts(targets="", names=("a", "b"), answer=None):
    """Short texts of the tiny tokenizer's words, with a target each."""
    splits, row = [], 0
    for count in SIZES.values():
        rows = range(row, row + count)
        row += count
        made = [Words(f"w{5 + (7 * r + i) % 84}" for i in range(6)) for r in rows]
        labels = np.array([r % 2 for r in rows]) if not targets else np.zeros(count, np.int64)
        splits.append(Split(made, labels, targets=answer([*rows]) if answer else None))
    return LabeledData("texts", "text", *splits, tuple(names), content=("text",), targets=targets)


def scenes():
    from pclora_lab.data.segmentation.scenes import digit_scenes

    return few(digit_scenes())


def classes():
    from pclora_lab.data.loading import load_data

    return few(load_data("digits"))


def sets(rows):
    return np.array([[r % 2, r % 3 == 0, r % 5 == 0] for r in rows], dtype=np.float32)


def tags(rows):
    return [np.array([(r + i) % 3 for i in range(6)]) for r in rows]


DATA = {
    "image-classification": classes,
    "text-classification": texts,
    "semantic-segmentation": scenes,
    "language-modeling": lambda: texts(names=()),
    "regression": lambda: few(digit_turns()),
    "multi-label-classification": lambda: texts("labels", ("a", "b", "c"), sets),
    "token-classification": lambda: texts("tags", ("O", "B-A", "I-A"), tags),
    "masked-language-modeling": lambda: texts(names=()),
}


class Kept(DataCache):
    """Gives the small data of a task for every configuration of it."""

    def __init__(self, name):
        super().__init__()
        self.kept = DATA[name]()

    def data(self, config, read=None):
        return self.kept


def model_of(name, data, folder):
    """Of fewer than 50,000 parameters."""
    if data.kind == "text":
        auto, kind = LANGUAGE.get(name, (None, "bert"))
        made = auto and auto.from_config(config_of(kind))
        place = write_model(folder / name, kind, made)
        words = tokenizer()
        words.mask_token = "[MASK]"
        words.save_pretrained(place)
        return str(place)
    return str(write_small_vit(folder / name, patch_size=8, embed_dim=36))


def small(method):
    """Its default, but for a rank that is one for larger layers."""
    return dataclasses.replace(method, rank=6) if hasattr(method, "rank") else method


def outcome(task, method, model, runs, cache):
    """``works``, or why the combination is refused."""
    config = RunConfig(
        task=task, data="digits", model=model,
        method=small(METHODS[method].default_config()), steps=2, batch_size=8, teacher_steps=1,
        teacher="finetune", evaluations=1, eval_images=8, snapshots=0, layer_metrics=False,
        device="cpu", precision="float32",
    )  # fmt: skip
    try:
        *_, end = execute(config, runs, cache=cache)
    except ValueError as error:
        return str(error)
    result = end.result
    metric = named_task(task).ranking
    assert result["method"] == method and np.isfinite(result[metric.key])
    assert result["params_before"] < 50_000
    return "works"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("every")
    return {name: outcomes(name, folder) for name in DATA}


def outcomes(name, folder):
    cache = Kept(name)
    model, runs = model_of(name, cache.kept, folder), folder / "runs"
    return {method: outcome(name, method, model, runs, cache) for method in METHODS}


def table(found):
    """Markdown: a row for each task, a column for each method, reasons below."""
    heads = [METHODS[name].title for name in METHODS]
    lines = [
        "# Every method on every task", "",
        "Made by `python tests/tasks/test_every_method.py`: two steps of each combination with "
        "its default settings, at rank 6, on a model of fewer than 50,000 parameters. ✓ trains, "
        "measures and finishes; a number stands for the reason below why it is refused.", "",
        f"| task | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|",
    ]  # fmt: skip
    reasons = []
    for task, row in found.items():
        cells = []
        for said in row.values():
            if said != "works" and said not in reasons:
                reasons.append(said)
            cells.append("✓" if said == "works" else str(reasons.index(said) + 1))
        lines.append(f"| {task} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))]
    return "\n".join(lines).rstrip() + "\n"


def test_every_task_is_tried():
    assert list(DATA) == [task.name for task in BUILT_IN], "give a new task small data in DATA"


def test_every_combination_is_as_the_table_says(found):
    assert table(found) == TABLE.read_text(encoding="utf8")


@pytest.mark.parametrize("name", list(DATA))
def test_models_are_small_and_a_refusal_says_what_to_do(found, name):
    for method, said in found[name].items():
        assert said == "works" or (":" in said and len(said) > 40), (method, said)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        made = {name: outcomes(name, Path(place)) for name in DATA}
    TABLE.write_text(table(made), encoding="utf8")
    print(TABLE)
