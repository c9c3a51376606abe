"""A full disk says what is kept and what to do, and memory does not grow with the records.

None of this needs root or a mount: /dev/full is a device of Linux that refuses every byte as a full
disk does, and a limit on the size of files makes it take a part of a record.
"""

import errno
import os
from types import SimpleNamespace

import pytest
import torch

from apple_seg.errors import StoreError
from apple_seg.replay import DiskStore, Layout, Stream, shards
from stores import content, filled, finish, flip, opened, same, start


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
store = opened(folder)
try:
    store.write(range(10), content(range(10)))
except StoreError as error:
    print(error)
print(store.missing(), same(store.read(range(4)), content(range(4))))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.write([9], content([9]))
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


def test_memory_does_not_grow_with_the_records_on_disk(tmp_path):
    # Only Linux tells which memory is no mapped file: getrusage counts a map's pages too, which the
    # system takes back as it likes. A machine without /proc fails here, as it does without
    # /dev/full above: a check that skips itself could be missing for years.
    body = """
def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

layout = Layout((Stream("latent", (65536,), torch.float32),))
latent = torch.ones(4, 65536)
def used(store, records):
    before = anonymous()
    for start in range(0, records, 4):
        store.write(range(start, start + 4), {"latent": latent})
    for start in range(0, records, 4):
        assert store.read(range(start, start + 4))["latent"].sum() == 4 * 65536
    return anonymous() - before

def on_disk(records):
    return DiskStore.open(folder / str(records), layout, records, identity={}, progress=False)
used(on_disk(8), 8)
print(used(on_disk(20), 20), used(on_disk(400), 400), used(MemoryStore(layout, 400), 400))
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
