"""Only what this package wrote is replaced: every writer asks the same guard first."""

import pytest

from pclora_lab.ownership import is_ours, refuse_foreign, with_mark


def test_a_text_with_our_last_line_is_ours_until_it_is_edited(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(with_mark("# A model\n\nSmall. ü"), encoding="utf8")
    assert is_ours(path)
    path.write_text(path.read_text(encoding="utf8").replace("Small", "Mine"), encoding="utf8")
    assert not is_ours(path)
    with pytest.raises(FileExistsError, match="README.md is there .* edited since.*--force"):
        refuse_foreign([path])
    refuse_foreign([path], force=True)
    with pytest.raises(FileExistsError) as error:
        refuse_foreign([path], force=None)
    assert "force" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["README.md", "report.html", "a.json", "load.py", "a.png", "a.onnx", "a.pt2", "a.safetensors"],
)
@pytest.mark.parametrize("content", [b"", b"mine, made with pclora_lab", b"\xff{" * 40])
def test_what_somebody_else_wrote_is_not(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert not is_ours(path)


def test_a_link_is_never_ours_and_a_folder_never_replaced(tmp_path):
    (tmp_path / "card").write_text(with_mark("# A model"))
    (tmp_path / "README.md").symlink_to(tmp_path / "card")
    with pytest.raises(FileExistsError):
        refuse_foreign([tmp_path / "README.md"])
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(FileExistsError, match="is a folder, in the place of a file"):
        refuse_foreign([tmp_path / "model.onnx"], force=True)
    refuse_foreign([tmp_path / "not there"])


def test_a_card_and_a_report_of_earlier_versions_are_ours(tmp_path):
    (tmp_path / "README.md").write_text("---\nlibrary_name: pclora-lab\n---\n# x")
    page = "<!doctype html><title>x</title><h2>What happened</h2><h2>Settings</h2>"
    (tmp_path / "report.html").write_text(page)
    assert is_ours(tmp_path / "README.md") and is_ours(tmp_path / "report.html")
