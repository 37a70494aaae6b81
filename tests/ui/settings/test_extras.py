"""The script and the expected time beside the fields."""

from pclora_lab.methods.pclora.config import PCLoRAConfig
from pclora_lab.runs.execution import execute
from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings.form import Controls

QUICK = RunConfig(method=PCLoRAConfig(rank=4, init="svd"), steps=4, evaluations=1, eval_images=16)


def test_the_script_makes_the_forms_config():
    controls = Controls()
    script = controls.extras.script
    assert script.text == ""
    controls.rank.value = 5
    controls.steps.value = 20
    script._handle_custom_msg({"press": True}, [])
    names = {}
    exec(script.text.partition("*_, end")[0], names)
    assert names["config"] == controls.config()
    controls.steps.value = 30
    assert script.text == ""  # it is of other settings


def test_a_form_that_is_wrong_gives_no_script_but_its_error():
    controls = Controls()
    controls.rank.value = 50
    controls.extras.script.press()
    assert controls.extras.script.text == ""
    assert "at most 47" in controls.form.rows["rank"].problem.value


def test_the_expected_time_is_that_of_earlier_runs(tmp_path):
    *_, end = execute(QUICK, tmp_path)
    controls = Controls(QUICK, root=tmp_path)
    line = controls.extras.expected.widget
    assert "about" in line.value and "earlier runs" in line.value
    controls.training.fields["batch_size"].value = 32
    assert line.value == ""
    assert Controls(QUICK).extras.expected.widget.value == ""
