"""The columns of a DataFrame, whatever stands in them."""

import pandas as pd

from pclora_lab.data.reading.frames import from_frame


def test_nothing_is_nothing_however_pandas_writes_it():
    mixed = pd.Series([1, "a", pd.NA, pd.NaT, None], dtype=object)
    stored = from_frame(pd.DataFrame({"label": mixed}))["label"]
    assert list(stored) == ["1", "a", None, None, None]
