"""What runs share is made once, and anew when its files have changed."""

import os
import threading
from dataclasses import replace

from pclora_lab.data import cache as data_cache
from pclora_lab.data.cache import DataCache
from pclora_lab.models.loading import load_model
from pclora_lab.training.config import RunConfig


def table(path, words):
    rows = (f"{word} film {n},{word}\n" for n in range(40) for word in words)
    path.write_text("text,label\n" + "".join(rows))
    return RunConfig(model="bert_glosses", data=str(path))


def test_a_file_is_read_once_until_it_changes(tmp_path):
    cache, path = DataCache(), tmp_path / "reviews.csv"
    config = table(path, ("good", "bad"))
    first = cache.data(config)
    assert cache.data(config) is first
    table(path, ("good", "bad", "dull"))
    assert cache.data(config).class_names == ("bad", "dull", "good")


def test_a_folder_changes_with_any_file_in_it(tmp_path):
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "a.txt"
    file.write_text("a")
    before = data_cache.stamp(str(tmp_path))
    assert before and before == data_cache.stamp(str(tmp_path))
    os.utime(file, (1, 1))
    touched = data_cache.stamp(str(tmp_path))
    (tmp_path / "b.txt").write_text("b")
    assert len({before, touched, data_cache.stamp(str(tmp_path))}) == 3
    assert data_cache.stamp("google-bert/bert-base-uncased") == ()
    assert data_cache.stamp("~nobody-of-that-name/x") == data_cache.stamp("a\0b") == ()


def test_a_folder_changes_with_a_file_behind_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("a")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "gone").symlink_to(tmp_path / "nowhere")
    before = data_cache.stamp(str(tmp_path / "here"))
    os.utime(tmp_path / "elsewhere" / "a.txt", (1, 1))
    assert before and data_cache.stamp(str(tmp_path / "here")) != before


def test_slow_data_keep_nobody_waiting_who_wants_others(monkeypatch):
    begun, go_on, loaded = threading.Event(), threading.Event(), []

    def load(name, **columns):
        loaded.append(name)
        if name == "slow":
            begun.set()
            assert go_on.wait(10)
        return name

    monkeypatch.setattr(data_cache, "load_data", load)
    cache, got = DataCache(), []
    slow = replace(RunConfig(), data="slow")
    threads = [threading.Thread(target=lambda: got.append(cache.data(slow))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(10) and cache.data(replace(slow, data="quick")) == "quick"
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert got == ["slow", "slow"] and sorted(loaded) == ["quick", "slow"]


def test_a_file_that_an_older_one_of_the_same_size_replaced_is_read_anew(tmp_path):
    (tmp_path / "new.txt").write_text("a")
    (tmp_path / "folder").mkdir()
    for name in "ab":
        (tmp_path / "folder" / name).write_text(name)
    before = data_cache.stamp(str(tmp_path / "folder"))
    os.utime(tmp_path / "new.txt", (1, 1))
    os.replace(tmp_path / "new.txt", tmp_path / "folder" / "a")
    assert data_cache.stamp(str(tmp_path / "folder")) != before
    assert data_cache.stamp(f"local-dir:{tmp_path / 'folder'}") != before


def test_texts_are_tokenized_anew_for_another_tokenizer_of_the_same_name(tmp_path):
    cache, model = DataCache(), load_model("bert_glosses")
    data = cache.data(table(tmp_path / "a.csv", ("good", "bad")))
    first = model.pclora_text
    other = replace(first, max_tokens=9)
    padded = replace(first, pad_left=True)
    made = [cache.batches(data, how, "same") for how in (first, other, padded, first)]
    assert made[0] is made[3] and len({*map(id, made)}) == 3
