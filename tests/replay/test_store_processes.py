"""Stores outlive kills, and several processes fill one at once."""

import fcntl
import signal
from unittest.mock import Mock

import pytest

from apple_seg.errors import StoreError
from apple_seg.replay import discard_records
from stores import content, filled, finish, opened, same, start


def test_recording_resumes_after_a_kill(tmp_path):
    body = """
store = opened(folder, 1000)
for record in range(1000):
    store.write([record], content([record]))
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
store = opened(folder)
store.write([0, 1], content([0, 1]))
setattr(os, sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
store.write([2, 3], content([2, 3]))
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
store = opened(folder, 300, writer=writer)
(folder / f"ready-{writer}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.001)
for record in range(writer, 300, 2):
    store.write([record], content([record]))
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
store = opened(folder, writer=writer)
store.write([writer], content([writer]))
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


def test_records_are_discarded_but_for_those_in_use_and_what_is_not_ours(tmp_path, monkeypatch):
    free, used, other = tmp_path / "free", tmp_path / "used", tmp_path / "other"
    filled(free)
    filled(used)
    other.mkdir()
    (other / "header.json").write_text('{"kind": "letters"}')
    (other / "shard-0000.bin").write_text("theirs")
    (free / "notes.txt").write_text("mine")
    body = """
store = opened(folder)
print("opened", flush=True)
time.sleep(120)
"""
    with start(body, used) as process:
        assert process.stdout.readline() == "opened\n"
        discard_records(tmp_path)
        process.kill()
    assert {path.name for path in free.iterdir()} == {"notes.txt", "lock"}
    assert {path.name for path in other.iterdir()} == {"header.json", "shard-0000.bin"}
    store = opened(used)
    assert store.found == "complete"
    store.close()
    with monkeypatch.context() as without_locks:
        without_locks.setattr(fcntl, "flock", Mock(side_effect=OSError("no locks here")))
        discard_records(tmp_path)
    assert (used / "header.json").is_file()
    discard_records(tmp_path)
    assert opened(used).missing() == opened(free).missing() == list(range(10))
    discard_records(tmp_path / "nowhere")
