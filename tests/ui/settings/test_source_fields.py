"""What the form keeps and what it forgets when the model or the data change."""

from pclora_lab.training.config import RunConfig
from pclora_lab.ui.settings.form import Controls


def test_columns_that_were_named_are_forgotten_with_their_data():
    controls = Controls(RunConfig(data="photos.csv", image_column="photo", precision="float32"))
    assert controls.config().image_column == "photo"
    controls.data.value = "others.csv"
    config = controls.config()
    assert (config.data, config.image_column, config.precision) == ("others.csv", None, "float32")
