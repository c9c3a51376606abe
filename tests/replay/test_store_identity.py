"""Records of something else than what is asked for are never used, and foreign files stay."""

import json
import zlib

import pytest

from apple_seg.errors import StoreError
from apple_seg.replay import DiskStore, Layout
from stores import LAYOUT, SITES, content, filled, opened, same


def test_another_identity_is_recorded_anew_and_foreign_files_stay(tmp_path):
    filled(tmp_path)
    foreign = {"notes.txt", "shard-0000.bin.bak", "journal-a.txt", "shard-1.bin", "header.json~"}
    for name in foreign:
        (tmp_path / name).write_text("mine")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "shard-0000.bin").write_text("mine")
    store = opened(tmp_path, identity={"sites": ["neck", "stem"], "host": "0123"})
    assert store.found == 'recorded anew: sites was ["neck"], is ["neck", "stem"]'
    assert store.missing() == list(range(10))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == foreign | {"more", "header.json", "lock"}
    assert all((tmp_path / name).read_text() == "mine" for name in foreign)
    assert (tmp_path / "more" / "shard-0000.bin").read_text() == "mine"


@pytest.mark.parametrize(
    ("identity", "layout", "records", "found"),
    [
        ({"host": "0123"}, LAYOUT, 10, 'sites was ["neck"], is absent'),
        ({**SITES, "views": None}, LAYOUT, 10, "views was absent, is null"),
        ({**SITES, "host": 1, "records": 3}, LAYOUT, 10, 'host was "0123", is 1, records was abs'),
        (SITES, LAYOUT, 11, "records was 10, is 11"),
        (SITES, Layout(LAYOUT.streams[:1]), 10, 'layout was ..., [3, 5], "float32"], ["half", [7]'),
    ],
)
def test_whatever_differs_is_named(tmp_path, identity, layout, records, found):
    filled(tmp_path)
    store = DiskStore.open(tmp_path, layout, records, identity=identity, progress=False)
    assert store.found.startswith("recorded anew: " + found)
    assert len(store.missing()) == records


def test_true_is_not_one_and_a_tuple_is_a_list(tmp_path):
    filled(tmp_path, identity={"flip": 1, "sites": ("a", "b"), "level": float("nan")})
    equal = opened(tmp_path, identity={"level": float("nan"), "sites": ["a", "b"], "flip": 1})
    assert equal.found == "complete"
    equal.close()
    other = opened(tmp_path, identity={"flip": True, "sites": ["a", "b"], "level": float("nan")})
    assert other.found == "recorded anew: flip was 1, is true"


def test_long_values_are_shown_where_they_part(tmp_path):
    filled(tmp_path, identity={"weights": "a" * 500 + "b" + "c" * 500})
    store = opened(tmp_path, identity={"weights": "a" * 500 + "d" + "c" * 500})
    assert "ab" in store.found
    assert "ad" in store.found
    assert len(store.found) < 200


@pytest.mark.parametrize("header", [b"", b"{", b"\xff\xfe\x00", b"not json"])
def test_an_unreadable_header_is_recorded_anew(tmp_path, header):
    filled(tmp_path)
    (tmp_path / "header.json").write_bytes(header)
    store = opened(tmp_path)
    assert store.found == "recorded anew: header.json is unreadable"
    assert store.missing() == list(range(10))


def test_files_named_like_ours_without_a_header_are_refused_and_left(tmp_path):
    (tmp_path / ".header.json.17.part").write_bytes(b"of a process killed at its start")
    assert opened(tmp_path).found == ""
    assert not (tmp_path / ".header.json.17.part").exists()
    (tmp_path / "header.json").unlink()
    (tmp_path / "shard-0000.bin").write_text("mine")
    with pytest.raises(StoreError, match=r"shard-0000.bin and no header.json.*another folder"):
        opened(tmp_path)
    assert (tmp_path / "shard-0000.bin").read_text() == "mine"


def test_another_format_is_recorded_anew(tmp_path):
    filled(tmp_path)
    header = json.loads((tmp_path / "header.json").read_text())
    (tmp_path / "header.json").write_text(json.dumps({**header, "format": 0}))
    assert opened(tmp_path).found == "recorded anew: format was 0, is 1"


@pytest.mark.parametrize("header", ['{"name": "my model"}', "[1]"])
def test_a_header_of_another_program_is_refused_and_left(tmp_path, header):
    (tmp_path / "header.json").write_text(header)
    (tmp_path / "shard-0000.bin").write_text("mine")
    with pytest.raises(StoreError, match="was not written by apple_seg: name another folder"):
        opened(tmp_path)
    assert (tmp_path / "header.json").read_text() == header
    assert (tmp_path / "shard-0000.bin").read_text() == "mine"


def test_journals_of_other_records_vouch_for_nothing(tmp_path):
    """Even with the files of another store under a header of ours."""
    filled(tmp_path / "one")
    opened(tmp_path / "two", identity={"sites": ["stem"]}).close()
    for name in ("shard-0000.bin", "journal-0.txt"):
        (tmp_path / "two" / name).write_bytes((tmp_path / "one" / name).read_bytes())
    store = opened(tmp_path / "two", identity={"sites": ["stem"]})
    assert store.missing() == list(range(10))
    assert opened(tmp_path / "one").missing() == []
    line = (tmp_path / "one" / "journal-0.txt").read_text().split()[1]
    record = (tmp_path / "one" / "shard-0000.bin").read_bytes()[:320]
    assert zlib.crc32(record, opened(tmp_path / "one")._shards.seed) == int(line, 16)


def test_a_store_in_use_is_not_cleared_under_its_reader(tmp_path):
    filled(tmp_path)
    reader = opened(tmp_path)
    with pytest.raises(StoreError, match=r"in use for other records \(host was .*name another"):
        opened(tmp_path, identity={**SITES, "host": "4567"})
    assert same(reader.read(range(10)), content(range(10)))
    beside = opened(tmp_path)
    assert beside.found == "complete"
    beside.close()
    reader.close()
    assert opened(tmp_path, identity={**SITES, "host": "4567"}).found.startswith("recorded anew")


def test_a_folder_that_cannot_be_one_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"file cannot be opened .*name another folder"):
        opened(tmp_path / "file")
    with pytest.raises(StoreError, match=r"file/below cannot be opened"):
        opened(tmp_path / "file" / "below")
