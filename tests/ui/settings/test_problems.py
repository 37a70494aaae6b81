"""What the form refuses stands at its field, and goes when the value is right."""

import pytest
from waiting import until

from pclora_lab.data.cache import DataCache
from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.methods.registry import METHODS
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings.form import Controls


def said(controls):
    """Every problem that is shown, by field."""
    rows = {**controls.fields.rows(), "data": controls.source.rows["data"]}
    rows["the end"] = controls.column.problem
    return {name: row.problem.value for name, row in rows.items() if row.problem.value}


def at(controls, field):
    """The problem of a field, which is the only one; its control is marked."""
    problems = said(controls)
    fields = {name for name in problems if name not in ("img_size", "max_tokens")}
    assert fields <= {field}, problems
    return problems[field]


def set_model(controls):
    controls.model.value = "vit_digit"


def set_data(controls):
    controls.data.value = " "


def set_lr(controls):
    controls.lr.value = 0.0


def set_rank(controls):
    controls.rank.value = 52


def set_budget(controls):
    controls.methods.sizes.choose("budget")
    controls.form.fields["budget"].value = 0.001


def set_no_budget(controls):
    controls.methods.sizes.choose("budget")
    controls.form.fields["budget"].value = 0.0


def set_odd_rank(controls):
    controls.method.value = "snella"
    controls.form.fields["rank"].value = 5


def set_ratio(controls):
    controls.method.value = "pela"
    controls.form.fields["ratio"].value = 1.0


def set_width(controls):
    controls.method.value = "small"
    controls.methods.sizes.choose("width")
    controls.form.fields["width"].value = 7


def set_ranks(controls):
    controls.use_ranks({"nowhere": 3})


def set_points(controls):
    controls.methods.schedule.typed.value = "0:1, 0.5:2"


REFUSED = {
    "model": (set_model, "did you mean vit_digits"),
    "data": (set_data, "name a data set, a file or a folder"),
    "lr": (set_lr, "lr is 0.0"),
    "rank": (set_rank, "Use a rank of at most 47"),
    "budget": (set_budget, "smallest possible"),
    "budget ": (set_no_budget, "budget is 0"),
    "rank ": (set_odd_rank, "use 4 or 6"),
    "ratio": (set_ratio, "it must be above 1"),
    "width": (set_width, "width"),
    "layers": (set_ranks, "is no layer that is replaced"),
    "points": (set_points, "λ"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_stands_at_its_field_and_train_is_refused(name):
    spoil, words = REFUSED[name]
    controls, field = Controls(cache=DataCache()), name.strip()
    until(lambda: "1,797 used" in controls.data_preview.widget.value)
    spoil(controls)
    if field != "data":  # an empty field is no error before somebody presses Train
        assert words in at(controls, field) and 'role="alert"' in at(controls, field)
    with pytest.raises(ValueError, match=r"\w"):
        controls.config()
    assert words in at(controls, field)
    rows = {**controls.fields.rows(), "data": controls.source.rows["data"]}
    assert "pclora-bad" in rows[field]._dom_classes
    controls.show(RunConfig())
    until(lambda: "1,797 used" in controls.data_preview.widget.value)
    assert said(controls) == {} and controls.config() == RunConfig()


def test_it_goes_with_the_value_and_sizes_come_back():
    controls = Controls()
    controls.rank.value = 50
    assert said(controls) and controls.sizes.value == ""
    controls.rank.value = 12
    assert said(controls) == {} and "450,730 → 82,090" in controls.sizes.value
    assert controls.form.rows["rank"].problem.layout.display == "none"
    assert "pclora-bad" not in controls.rank._dom_classes


def test_points_that_were_typed_wrong_are_not_passed_over():
    controls = Controls()
    set_points(controls)
    with pytest.raises(ValueError, match="λ"):
        controls.config()
    controls.methods.schedule.typed.value = "0:1, 0.4:0.8, 0.7:0"
    assert controls.config().method.schedule == ((0.0, 1.0), (0.4, 0.8), (0.7, 0.0))
    assert said(controls) == {}


def test_a_folded_field_is_unfolded_by_its_error():
    controls = Controls()
    assert not controls.column.advanced.heading.is_open
    set_lr(controls)
    assert controls.column.advanced.heading.is_open


def test_what_no_field_is_to_blame_for_stands_at_the_end(monkeypatch):
    controls = Controls()
    monkeypatch.setattr(controls.methods, "config", lambda: RunConfig(method=None))
    with pytest.raises(ValueError, match="method is None"):
        controls.config()
    assert "method is None" in at(controls, "the end")


def test_data_that_were_mended_are_taken_at_the_next_press(tmp_path):
    controls = Controls(cache=DataCache())
    path = tmp_path / "mail.csv"
    controls.data.value = str(path)
    until(lambda: "no such folder or file" in said(controls).get("data", ""))
    with pytest.raises(ValueError, match="no such folder or file"):
        controls.config()
    path.write_text("\n".join(["text,label", *(f"text {i},{i % 2}" for i in range(100))]))
    assert controls.config().data == str(path)
    assert said(controls) == {} and "100 found" in controls.data_preview.widget.value


def test_a_mistyped_name_of_data_is_answered_with_the_nearest():
    controls = Controls(cache=DataCache())
    controls.data.value = "digitz"
    assert "did you mean digits?" in controls.data_preview.widget.value
    controls.data.value = "uoft-cs/cifar10"
    assert "did you mean" not in controls.data_preview.widget.value


@pytest.mark.parametrize("name", METHODS)
def test_no_option_of_a_method_is_called_like_one_of_the_run(name):
    controls = Controls(RunConfig(method=METHODS[name].Config()))
    of_the_run = {*controls.source.rows, *controls.training.rows}
    assert not of_the_run & {*controls.form.rows}


def test_every_control_has_a_name_and_a_help():
    controls = Controls()
    for name in METHODS:
        controls.method.value = name
        rows = {**controls.source.rows, **controls.training.rows, **controls.form.rows}
        for field in (row.control for row in rows.values()):
            assert field.description and field.tooltip


def test_a_drawn_schedule_that_may_not_rise_any_more_is_refused_there():
    rising = ((0, 1), (0.2, 0.3), (0.4, 0.6), (0.6, 0))
    controls = Controls(RunConfig(method=PCLoRAConfig(schedule=rising, may_rise=True)))
    controls.form.fields["may_rise"].value = False
    assert "may_rise" in at(controls, "schedule")
