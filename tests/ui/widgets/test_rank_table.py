"""The table of ranks without a browser: rows and ranks are two sides of one thing."""

from pclora_lab.nn.counting import LayerCount
from pclora_lab.ui.widgets.rank_table import RankTable

LAYERS = (LayerCount("fc1", 8, 8, True, 1, 4), LayerCount("fc2", 16, 8, True, 1, 4))


def made():
    table = RankTable()
    table.set_layers(LAYERS, {"fc1": 2, "fc2": 3})
    return table


def test_a_row_that_was_edited_in_the_browser_changes_the_ranks():
    table, heard = made(), []
    table.observe(lambda change: heard.append(change["new"]), "ranks")
    table.set_state({"rows": [{**table.rows[0], "rank": 1}, table.rows[1]]})
    assert table.ranks == {"fc1": 1, "fc2": 3} and heard == [table.ranks]


def test_ranks_that_are_set_are_shown():
    table = made()
    table.ranks = {"fc1": 3, "fc2": 1}
    assert [row["rank"] for row in table.rows] == [3, 1]


def test_the_share_that_is_left_is_the_layers():
    for row, layer in zip(made().rows, LAYERS, strict=True):
        for rank in range(1, layer.largest_rank + 1):
            left = row["left"] * rank + row["fixed"]
            assert abs(left - layer.low_rank_params(rank) / layer.params) < 1e-12
