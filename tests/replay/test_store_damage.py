"""A store on disk is found again as it was left; what is damaged is recorded anew, and no more."""

import os

import pytest
import torch

from apple_seg.errors import StoreError
from apple_seg.replay import shards
from stores import content, filled, flip, opened, same


def test_a_store_on_disk_says_what_it_found(tmp_path):
    first = opened(tmp_path)
    assert (first.found, len(first.missing())) == ("", 10)
    first.write([8, 3], content([8, 3]))
    first.close()
    second = opened(tmp_path)
    assert second.found == "resumed: 2 of 10 records are there"
    assert same(second.read([3, 8]), content([3, 8]))
    second.write(second.missing(), content(second.missing()))
    second.close()
    third = opened(tmp_path)
    assert (third.found, third.missing()) == ("complete", [])
    assert same(third.read(range(10)), content(range(10)))


def test_records_are_spread_over_shards_of_whole_records(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 1000)  # three records of 320 bytes
    filled(tmp_path)
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("shard-*")}
    assert sizes == {**{f"shard-000{shard}.bin": 960 for shard in range(3)}, "shard-0003.bin": 320}
    store = opened(tmp_path)
    assert same(store.read([9, 2, 3, 5, 6]), content([9, 2, 3, 5, 6]))
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)  # less than a record: one each
    filled(tmp_path / "small")
    assert len(list((tmp_path / "small").glob("shard-*"))) == 10
    assert same(opened(tmp_path / "small").read([9, 0]), content([9, 0]))


def test_a_store_of_many_shards_opens_few_files_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    monkeypatch.setattr(shards, "_MAPS", 3)
    filled(tmp_path)
    store = opened(tmp_path)
    order = torch.randperm(10).tolist() * 3
    assert same(store.read(order), content(order))
    assert len(store._shards._maps) == 3


def test_a_closed_store_says_so_and_leaves_no_file_open(tmp_path):
    def files():
        links = [os.path.realpath(f"/proc/self/fd/{file}") for file in os.listdir("/proc/self/fd")]
        return [link for link in links if link.startswith(str(tmp_path))]

    store = opened(tmp_path)
    store.write([0], content([0]))
    before = store.read([0])
    assert len(files()) == 4  # lock, journal, and the shard, written to and mapped
    store.close()
    store.close()
    assert files() == []
    assert same(before, content([0]))
    writes = lambda: store.write([1], content([1]))  # noqa: E731
    for use in (lambda: store.read([0]), writes, store.reload, store.clear):
        with pytest.raises(StoreError, match="is closed; open it anew"):
            use()
    forgotten = opened(tmp_path)
    assert len(files()) == 2  # the shard was mapped to verify it
    del forgotten
    assert files() == []


def test_a_flipped_bit_costs_exactly_its_record(tmp_path):
    filled(tmp_path)
    flip(tmp_path / "shard-0000.bin", 4 * 320 + 130)
    store = opened(tmp_path)
    assert store.found == "1 of 10 records are damaged and recorded anew"
    assert store.missing() == [4]
    with pytest.raises(StoreError, match="record 4 is not there"):
        store.read([4])
    store.write([4], content([4]))
    store.close()
    again = opened(tmp_path)
    assert again.found == "complete"
    assert same(again.read(range(10)), content(range(10)))


def test_a_truncated_shard_costs_the_records_beyond_its_end(tmp_path):
    filled(tmp_path)
    os.truncate(tmp_path / "shard-0000.bin", 7 * 320 + 5)
    store = opened(tmp_path)
    assert store.found == "3 of 10 records are damaged and recorded anew"
    assert store.missing() == [7, 8, 9]
    assert same(store.read(range(7)), content(range(7)))
    store.close()
    os.truncate(tmp_path / "shard-0000.bin", 0)
    assert opened(tmp_path).missing() == list(range(10))
    (tmp_path / "shard-0000.bin").unlink()
    assert opened(tmp_path).missing() == list(range(10))


@pytest.mark.parametrize("kept", range(1, 11))
def test_a_torn_line_of_the_journal_costs_its_record_and_spoils_no_other(tmp_path, kept):
    """A line is `9 0123abcd`: whatever part of it is left, without its end of line."""
    filled(tmp_path)
    journal = tmp_path / "journal-0.txt"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert lines[9].startswith(b"9 ")
    assert len(lines[9]) == 11
    journal.write_bytes(b"".join(lines[:9]) + lines[9][:kept])
    store = opened(tmp_path)
    assert store.missing() == ([] if kept == 10 else [9])  # only the end of the line is torn
    store.write([9, 0], content([9, 0]))
    store.close()
    again = opened(tmp_path)
    assert again.found == "complete"
    assert same(again.read(range(10)), content(range(10)))
    assert again._shards.journaled().keys() == set(range(10))


def test_garbage_in_a_journal_is_passed_over(tmp_path):
    filled(tmp_path, 5)
    with (tmp_path / "journal-0.txt").open("ab") as file:
        file.write(b"\xff\x00\n99 00000000\n-1 00000000\n2\n\n" + b"9" * 5000 + b" 00000000\n")
    store = opened(tmp_path, 5)
    assert store.found == "complete"


@pytest.mark.parametrize(("first", "later"), [(0, 1), (1, 0)])
def test_a_record_rewritten_by_another_writer_is_good_as_it_is_now(tmp_path, first, later):
    """Whichever journal is read last."""
    filled(tmp_path, writer=first)
    other = opened(tmp_path, writer=later)
    other.write([6], content([16]))
    other.close()
    store = opened(tmp_path)
    assert store.found == "complete"
    assert same(store.read([6]), content([16]))
    store.close()
    # Half of the new bytes over the old ones match neither.
    filled(tmp_path / "old")
    old = (tmp_path / "old" / "shard-0000.bin").read_bytes()
    middle = 6 * 320 + 100
    new = (tmp_path / "shard-0000.bin").read_bytes()
    (tmp_path / "shard-0000.bin").write_bytes(new[:middle] + old[middle:])
    assert opened(tmp_path).missing() == [6]
