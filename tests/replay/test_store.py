"""Records come back bit for bit, survive kills and full disks, and are never silently stale."""

import errno
import json
import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from apple_seg.errors import StoreError
from apple_seg.replay import shards
from apple_seg.replay.store import DiskStore, Layout, MemoryStore, Stream

LAYOUT = Layout(
    (
        Stream("single", (3, 5), torch.float32),
        Stream("half", (7,), torch.float16),
        Stream("brain", (2, 2, 3), torch.bfloat16),
        Stream("mask", (5, 1), torch.uint8),
        Stream("place", (), torch.int64),
    )
)
SITES = {"sites": ["neck"], "host": "0123"}
ROOT = Path(__file__).parents[2]


def content(records):
    """Return what these records hold: every stream drawn by record, so that none looks alike."""
    streams = {stream.name: [] for stream in LAYOUT.streams}
    for record in records:
        draws = torch.Generator().manual_seed(record)
        for stream in LAYOUT.streams:
            drawn = torch.rand(stream.shape, generator=draws) * 200
            streams[stream.name].append(drawn.to(stream.dtype))
    return {name: torch.stack(tensors) for name, tensors in streams.items()}


def same(found, expected):
    assert list(found) == [stream.name for stream in LAYOUT.streams]
    return all(
        found[name].dtype == tensor.dtype
        and found[name].is_contiguous()
        and torch.equal(found[name], tensor)
        for name, tensor in expected.items()
    )


def opened(folder, records=10, *, identity=SITES, **settings):
    return DiskStore.open(folder, LAYOUT, records, identity=identity, progress=False, **settings)


def filled(folder, records=10, **settings):
    """Record everything in a new store and close it."""
    store = opened(folder, records, **settings)
    store.write(range(records), content(range(records)))
    store.close()


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore(LAYOUT, 10)
    return opened(tmp_path / "records")


# What both stores promise.


def test_records_come_back_bit_for_bit_in_any_order(store):
    store.write([7, 2, 4], content([7, 2, 4]))
    assert same(store.read([4, 7, 4, 2]), content([4, 7, 4, 2]))
    assert not same(store.read([4, 7, 4, 2]), content([7, 4, 4, 2]))
    assert store.missing() == [0, 1, 3, 5, 6, 8, 9]
    assert {name: len(rows) for name, rows in store.read([]).items()} == dict.fromkeys(
        store.read([2]), 0
    )


def test_special_values_keep_their_bits(store):
    streams = content([0])
    patterns = [0x7FC1, 0x8000, 0xFF80, 0x0001] * 3  # a NaN's payload, -0, -inf, subnormal
    bits = torch.tensor(patterns, dtype=torch.int32).to(torch.int16)
    streams["brain"] = bits.view(torch.bfloat16).view(1, 2, 2, 3)
    store.write([0], streams)
    assert torch.equal(store.read([0])["brain"].view(torch.int16).flatten(), bits)
    assert not torch.equal(store.read([0])["brain"], streams["brain"])  # as numbers, NaN differs


def test_what_was_read_is_no_window_on_the_store(store):
    store.write([0], content([0]))
    store.read([0])["single"].zero_()
    assert same(store.read([0]), content([0]))
    given = content([1])
    store.write([1], given)
    given["single"].zero_()
    assert same(store.read([1]), content([1]))


def test_strided_tensors_with_gradients_are_kept_by_value(store):
    streams = content([0, 1])
    streams["single"] = streams["single"].transpose(1, 2).contiguous().transpose(1, 2)
    streams["half"].requires_grad_()
    assert not streams["single"].is_contiguous()
    store.write([0, 1], streams)
    assert same(store.read([0, 1]), content([0, 1]))


def test_a_record_can_be_written_again(store):
    store.write([3], content([4]))
    store.write([3], content([3]))
    assert same(store.read([3]), content([3]))


def test_missing_and_foreign_records_are_refused_by_number(store):
    store.write([0, 1], content([0, 1]))
    with pytest.raises(StoreError, match="record 5 is not there, 2 of 10 are"):
        store.read([0, 5])
    for outside in (10, -1):
        with pytest.raises(IndexError, match=f"record {outside} is out of range.* 10, from 0"):
            store.read([0, outside])
        with pytest.raises(IndexError, match=f"record {outside} is out of range"):
            store.write([outside], content([0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": None}, "streams must be single, half, brain, mask, place; got single, half, b"),
        ({"more": torch.ones(2)}, "got single, half, brain, mask, place, more"),
        ({"half": torch.ones(2, 7)}, "'half' must be torch.float16 .*, got torch.float32"),
        ({"half": torch.ones(2, 8).half()}, r"of shape \(2, 7\), got .* of shape \(2, 8\)"),
        ({"place": torch.ones(1).long()}, r"'place' must be .* \(2,\), got .* \(1,\)"),
    ],
)
def test_a_write_that_does_not_fit_the_layout_writes_nothing(store, change, message):
    streams = {**content([0, 1]), **change}
    streams = {name: tensor for name, tensor in streams.items() if tensor is not None}
    with pytest.raises(ValueError, match=message):
        store.write([0, 1], streams)
    with pytest.raises(ValueError, match=r"once a call, got \[1, 1\]"):
        store.write([1, 1], content([1, 1]))
    assert store.missing() == list(range(10))
    store.write([0, 1], content([0, 1]))
    assert store.missing() == list(range(2, 10))


def test_a_cleared_store_is_filled_anew(store):
    store.write(range(10), content(range(10)))
    store.reload()
    assert store.missing() == []
    store.clear()
    assert store.missing() == list(range(10))
    store.reload()
    assert store.missing() == list(range(10))
    store.write([1], content([11]))
    store.reload()
    assert same(store.read([1]), content([11]))
    store.close()
    with pytest.raises(StoreError):
        store.read([1])


# Layouts.


def test_streams_and_records_start_at_multiples_of_64_bytes():
    # 60, 14, 24, 5 and 8 bytes.
    assert [stream.nbytes for stream in LAYOUT.streams] == [60, 14, 24, 5, 8]
    assert list(LAYOUT.offsets.values()) == [0, 64, 128, 192, 256]
    assert LAYOUT.record_bytes == 320
    wide = Layout((Stream("a", (64,), torch.uint8), Stream("b", (65,), torch.uint8)))
    assert (wide.offsets, wide.record_bytes) == ({"a": 0, "b": 64}, 192)


def test_empty_layouts_and_stores_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one stream"):
        Layout(())
    with pytest.raises(ValueError, match=r"'a' of shape \(0, 3\) holds no byte"):
        Layout((Stream("a", (0, 3), torch.uint8),))
    with pytest.raises(ValueError, match="a name of its own, got a, a"):
        Layout((Stream("a", (1,), torch.uint8), Stream("a", (2,), torch.uint8)))
    with pytest.raises(ValueError, match="at least one record, got 0"):
        MemoryStore(LAYOUT, 0)
    with pytest.raises(ValueError, match="at least one record, got 0"):
        opened(tmp_path / "records", 0)
    with pytest.raises(ValueError, match="numbered from 0, got -1"):
        opened(tmp_path / "records", writer=-1)
    assert list(tmp_path.iterdir()) == []


# Opening again.


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


# Damage.


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


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


# Other records than those asked for.


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


# Kills, and several processes.

SCRIPT = f"""
import os, resource, signal, sys, time
from importlib import util
from pathlib import Path
spec = util.spec_from_file_location("test_store", {str(Path(__file__))!r})
this = util.module_from_spec(spec)
spec.loader.exec_module(this)
folder = Path(sys.argv[1])
"""


def start(body, *arguments):
    """Run `body` in a process of its own, with this file as `this` and the folder as `folder`."""
    command = [sys.executable, "-c", SCRIPT + body, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(*processes):
    told = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(told), told
    return [out for out, _ in told]


def test_recording_resumes_after_a_kill(tmp_path):
    body = """
store = this.opened(folder, 1000)
for record in range(1000):
    store.write([record], this.content([record]))
    print(record, flush=True)
    time.sleep(0.01)
"""
    with start(body, tmp_path) as process:
        for _ in range(20):
            process.stdout.readline()
        process.kill()
    assert process.returncode == -signal.SIGKILL
    store = opened(tmp_path, 1000)
    there = 1000 - len(store.missing())
    assert 20 <= there < 1000
    assert store.found == f"resumed: {there} of 1000 records are there"
    assert same(store.read(range(there)), content(range(there)))
    store.write(store.missing(), content(store.missing()))
    store.close()
    assert opened(tmp_path, 1000).found == "complete"


@pytest.mark.parametrize("call", ["pwrite", "write"])
def test_a_kill_before_the_bytes_or_before_their_line_leaves_no_record(tmp_path, call):
    body = """
store = this.opened(folder)
store.write([0, 1], this.content([0, 1]))
setattr(os, sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
store.write([2, 3], this.content([2, 3]))
"""
    with start(body, tmp_path, call) as process:
        process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    written = (tmp_path / "shard-0000.bin").stat().st_size
    assert written == {"pwrite": 640, "write": 960}[call]
    store = opened(tmp_path)
    assert store.found == "resumed: 2 of 10 records are there"
    assert same(store.read([0, 1]), content([0, 1]))


def test_two_writers_fill_one_store_at_once(tmp_path):
    body = """
writer = int(sys.argv[2])
store = this.opened(folder, 300, writer=writer)
(folder / f"ready-{writer}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.001)
for record in range(writer, 300, 2):
    store.write([record], this.content([record]))
store.close()
"""
    watcher = opened(tmp_path, 300, writer=2)
    finish(*(start(body, tmp_path, writer) for writer in (0, 1)))
    assert len(watcher.missing()) == 300
    watcher.reload()
    assert watcher.missing() == []
    assert same(watcher.read(range(300)), content(range(300)))
    journals = [(tmp_path / f"journal-{writer}.txt").read_text() for writer in (0, 1)]
    assert [len(journal.splitlines()) for journal in journals] == [150, 150]


def test_two_processes_that_find_a_stale_store_at_once_clear_it_once(tmp_path):
    filled(tmp_path, identity={"sites": []})
    body = """
writer = int(sys.argv[2])
(folder / f"ready-{writer}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    pass
store = this.opened(folder, writer=writer)
store.write([writer], this.content([writer]))
print(store.found)
store.close()
"""
    told = finish(*(start(body, tmp_path, writer) for writer in range(2)))
    assert sum("sites was [], is" in found for found in told) == 1
    store = opened(tmp_path)
    assert store.missing() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert same(store.read([0, 1]), content([0, 1]))


def test_reload_sees_a_shard_grow_that_is_mapped_already(tmp_path):
    reader, writer = opened(tmp_path, writer=0), opened(tmp_path, writer=1)
    for record in range(3):
        writer.write([record], content([record]))
        with pytest.raises(StoreError, match=f"record {record} is not there"):
            reader.read([record])
        reader.reload()
        assert same(reader.read([record]), content([record]))


def test_a_store_cleared_by_one_process_is_empty_for_the_others_once_they_reload(tmp_path):
    one, two = opened(tmp_path, writer=0), opened(tmp_path, writer=1)
    one.write([0, 1], content([0, 1]))
    two.write([2], content([2]))
    two.reload()
    assert two.missing() == [3, 4, 5, 6, 7, 8, 9]
    one.clear()
    two.reload()
    assert two.missing() == list(range(10))
    two.write([2], content([12]))  # through a journal that was open all the while
    one.reload()
    assert one.missing() == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert same(one.read([2]), content([12]))


# Full disks. None of these needs root or a mount: /dev/full is a device of Linux that refuses every
# byte as a full disk does, and a limit on the size of files makes it take a part of a record.


def test_a_full_disk_says_what_is_kept_and_needed_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 4 * 320)
    store = opened(tmp_path)
    os.symlink("/dev/full", tmp_path / "shard-0001.bin")
    with pytest.raises(StoreError) as caught:
        store.write(range(10), content(range(10)))
    assert str(caught.value) == (
        f"the disk of {tmp_path} is full (No space left on device): 4 of 10 records are kept, the "
        "others need 1.9 kB more. Free space or name another folder, then start again: what is "
        "there is kept."
    )
    assert store.missing() == [4, 5, 6, 7, 8, 9]
    assert same(store.read(range(4)), content(range(4)))
    store.close()
    (tmp_path / "shard-0001.bin").unlink()
    again = opened(tmp_path)
    assert again.found == "resumed: 4 of 10 records are there"
    assert same(again.read(range(4)), content(range(4)))
    again.write(again.missing(), content(again.missing()))
    assert same(again.read(range(10)), content(range(10)))


def test_a_journal_on_a_full_disk_leaves_no_record(tmp_path):
    store = opened(tmp_path)
    os.symlink("/dev/full", tmp_path / "journal-0.txt")
    with pytest.raises(StoreError, match=r"is full .*: 0 of 10 records are kept"):
        store.write([0], content([0]))
    assert (tmp_path / "shard-0000.bin").stat().st_size == 320
    store.close()
    (tmp_path / "journal-0.txt").unlink()
    again = opened(tmp_path)
    assert again.missing() == list(range(10))
    again.write([0], content([0]))
    assert same(again.read([0]), content([0]))


def test_a_record_that_is_taken_in_part_is_not_there(tmp_path):
    body = """
resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 320 + 100, resource.RLIM_INFINITY))
store = this.opened(folder)
try:
    store.write(range(10), this.content(range(10)))
except this.StoreError as error:
    print(error)
print(store.missing(), this.same(store.read(range(4)), this.content(range(4))))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.write([9], this.content([9]))
"""
    (told,) = finish(start(body, tmp_path))
    message, kept = told.splitlines()
    assert (
        "(File too large): 4 of 10 records are kept, the others need 1.9 kB more. Mend" in message
    )
    assert kept == "[4, 5, 6, 7, 8, 9] True"
    store = opened(tmp_path)
    assert store.found == "resumed: 5 of 10 records are there"
    assert same(store.read([0, 1, 2, 3, 9]), content([0, 1, 2, 3, 9]))
    partly = (tmp_path / "shard-0000.bin").read_bytes()[4 * 320 : 4 * 320 + 100]
    assert partly[:60] == content([4])["single"].numpy().tobytes()  # it was written in part


def test_a_record_that_is_overwritten_in_part_is_there_no_more(tmp_path, monkeypatch):
    store = opened(tmp_path)
    store.write([0, 1], content([0, 1]))
    pwrite = os.pwrite

    def filling(file, left, start):
        if len(left) <= 220:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return pwrite(file, left[:100], start)

    monkeypatch.setattr(os, "pwrite", filling)
    with pytest.raises(StoreError, match=r"is full \(Disk quota exceeded\): 1 of 10 records are"):
        store.write([1], content([11]))
    monkeypatch.undo()
    for seen in (store, opened(tmp_path)):
        assert seen.missing() == list(range(1, 10))
        assert same(seen.read([0]), content([0]))


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_them_all(tmp_path, monkeypatch):
    pwrite, calls = os.pwrite, []

    def slowly(file, left, start):
        calls.append(start)
        return pwrite(file, left[:100], start)

    monkeypatch.setattr(os, "pwrite", slowly)
    filled(tmp_path)
    assert len(calls) == 40
    assert same(opened(tmp_path).read(range(10)), content(range(10)))


def test_what_cannot_fit_is_refused_before_the_first_record(tmp_path):
    layout = Layout((Stream("latent", (10**6, 10**6, 1000), torch.float32),))
    store = DiskStore.open(tmp_path, layout, 3, identity={}, progress=False)
    with pytest.raises(StoreError, match=r"need 12,000,000.0 GB, and .* GB free: free space"):
        store.check_space()
    assert not list(tmp_path.glob("shard-*"))
    small = opened(tmp_path / "small")
    small.check_space()
    small.write([0], content([0]))


def test_damaged_records_need_no_more_space(tmp_path, monkeypatch):
    filled(tmp_path, 1000)
    for record in range(0, 1000, 2):
        flip(tmp_path / "shard-0000.bin", record * 320)
    store = opened(tmp_path, 1000)
    assert len(store.missing()) == 500
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=1000))
    store.check_space()
    with pytest.raises(StoreError, match=r"need 320.0 kB, and .* has 1.0 kB free"):
        opened(tmp_path / "new", 1000).check_space()


# Memory.


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_does_not_grow_with_the_records_on_disk(tmp_path):
    body = """
import torch
def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

layout = this.Layout((this.Stream("latent", (65536,), torch.float32),))
latent = torch.ones(4, 65536)
def used(store, records):
    before = anonymous()
    for start in range(0, records, 4):
        store.write(range(start, start + 4), {"latent": latent})
    for start in range(0, records, 4):
        assert store.read(range(start, start + 4))["latent"].sum() == 4 * 65536
    return anonymous() - before

def on_disk(records):
    return this.DiskStore.open(folder / str(records), layout, records, identity={}, progress=False)
used(on_disk(8), 8)
print(used(on_disk(20), 20), used(on_disk(400), 400), used(this.MemoryStore(layout, 400), 400))
before = anonymous()
store = on_disk(400)
assert store.found == "complete"
print(anonymous() - before)
"""
    (told,) = finish(start(body, tmp_path))
    few, many, in_memory, verified = map(float, told.split())
    # MiB; the records take 5 and 100.
    assert in_memory > 95
    assert many - few < 5
    assert verified < 5
