"""What doctor says about the disk."""

from pclora_lab.cli.disk import disk_facts


def test_runs_and_teachers_are_counted_and_links_are_not_followed(tmp_path):
    root = tmp_path / "runs"
    sizes = {
        "a/result.json": 2, "a/snapshots/000001.safetensors": 3, "b/checkpoint.safetensors": 4,
        "b/checkpoint.previous.safetensors": 4, "teachers/0a/model.safetensors": 5,
        "teachers/0b/checkpoint.safetensors": 1,
    }  # fmt: skip
    for name, megabytes in sizes.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes(megabytes * 10**6))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "large").write_bytes(bytes(10**7))
    (root / "linked").symlink_to(tmp_path / "other")
    runs, teachers = disk_facts(root).values()
    assert runs.startswith("2, 13.0 MB (snapshots 3.0, checkpoints 8.0); to free it, delete runs")
    assert teachers.startswith("2, 6.0 MB; to free it, delete their folders")
