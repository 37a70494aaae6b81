"""An argument that is taken is used: what a function ignores is named here, with the reason."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "pclora_lab"

# What callers pass by a protocol, of somebody else's or of this package's own.
PROTOCOLS = {
    # transformers' callbacks
    "on_train_begin", "on_step_begin", "on_pre_optimizer_step", "on_step_end", "on_save",
    "on_log", "on_train_end",
    # Python's and torch's
    "__exit__", "__deepcopy__", "__torch_dispatch__", "__torch_function__", "backward",
    "find_spec",
    # transformers' quantizers
    "_process_model_before_weight_loading", "postprocess_model",
    # a method's verbs, where a method has nothing to say to them
    "apply", "set_progress", "override_lambda", "loss_terms", "after_backward", "measure", "notes",
    "state_dict", "load_state_dict", "without_base", "plan", "layer_ranks",
    # a task's verbs, likewise
    "class_names", "wanted_head", "verdict", "units", "imitated", "raw_examples", "continuations",
    "label", "of_data", "imitation_loss", "output_code",
    # a reader of targets, likewise
    "rows",
}  # fmt: skip
EXPLAINED = {
    "fields.py:_switch": "one of a table of checks, which are all called alike",
    "data/language/masked.py:for_scoring": "always the same batches, which hide the same",
    "data/loading.py:_image_split": "called as _text_split is, whose rows can be left out",
    "methods/base.py:__call__": "TaskLoss: a loss that does not change with the progress",
    "methods/pclora/losses.py:__call__": "DistillationTerms: likewise",
    "methods/distillation/taps.py:keep": "torch's forward hooks are given the inputs too",
    "methods/pclora/schedules.py:identity": "a schedule that does not depend on t",
    "nn/layers/comparing.py:compare": "torch's forward hooks are given the inputs too",
    "nn/layers/comparing.py:keep": "likewise",
    "tasks/losses.py:contrastive_loss": "every task's loss is called alike",
    "runs/estimates/finished.py:_read_run": "they are part of the cache's key",
    "runs/comparison/engines/dask_engine.py:run": "dask itself chooses a worker",
    "runs/comparison/engines/joblib_engine.py:room": "Engine: joblib knows nothing of memory",
    "runs/comparison/engines/joblib_engine.py:run": "joblib itself chooses a worker",
    "runs/comparison/engines/loky_engine.py:room": "Engine: what there is was looked at before",
    "runs/comparison/engines/ray_engine.py:run": "Ray itself chooses a worker",
    "wording.py:repr_int": "a method of reprlib.Repr, which passes how deep it is",
    "wording.py:repr_instance": "likewise",
    "ui/views/allocation_view.py:_draw": "what a Refresher calls",
    "ui/views/layers_view.py:_clicked": "what plotly calls",
}


def ignored_arguments(source: str) -> dict[str, list[str]]:
    """Arguments that a function's body never names, by the function's name."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        does = [s for s in node.body if not isinstance(getattr(s, "value", s), ast.Constant)]
        if not does or all(isinstance(statement, ast.Raise | ast.Pass) for statement in does):
            continue
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
        names = {n.id for s in does for n in ast.walk(s) if isinstance(n, ast.Name)}
        left = {a.arg for a in every} - names - {"self", "cls"}
        if ignored := sorted(name for name in left if name[0] != "_"):
            found[node.name] = ignored
    return found


def test_it_finds_what_is_taken_and_not_used():
    assert ignored_arguments("def loss(outputs, num_items=None):\n    return outputs") == {
        "loss": ["num_items"]
    }


def test_every_argument_is_used_or_the_reason_is_known():
    found = {
        f"{path.relative_to(PACKAGE).as_posix()}:{name}": arguments
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, arguments in ignored_arguments(path.read_text()).items()
        if name not in PROTOCOLS
    }
    assert {place: names for place, names in found.items() if place not in EXPLAINED} == {}


def test_a_trainer_s_number_of_items_is_used():
    source = (PACKAGE / "methods/pclora/hf_trainer.py").read_text()
    assert set(ignored_arguments(source)) <= PROTOCOLS
