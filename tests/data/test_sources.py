"""Folders, zips and memory hold the same files under the same names."""

import multiprocessing
import os
import pickle
import time
import zipfile

import pytest

from apple_seg.data.sources import FolderSource, MemorySource, ZipSource, open_source, plain_name
from apple_seg.errors import CaseError

FILES = {"cases.csv": b"image\n", "images/a b.png": b"picture", "masks/ä.png": b"mask"}


def zipped(path, files, kind=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            archive.writestr(info, content, kind)
    return path


@pytest.fixture(params=["folder", "zip", "memory"])
def source(request, tmp_path):
    if request.param == "memory":
        return MemorySource(FILES)
    if request.param == "zip":
        return open_source(zipped(tmp_path / "set.zip", FILES))
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return open_source(tmp_path)


def test_every_source_lists_holds_and_opens_its_files(source):
    assert source.names() == frozenset(FILES)
    assert all(source.holds(name) and source.open(name) == FILES[name] for name in FILES)
    assert not source.holds("images")
    assert not source.holds("images/b.png")
    with pytest.raises((KeyError, OSError)):
        source.open("images/b.png")


def test_every_source_stamps_a_file_and_names_none_that_is_not_there(source):
    stamps = {name: source.stamp(name) for name in FILES}
    assert len({*stamps.values()}) == 3
    assert {name: pickle.loads(pickle.dumps(source)).stamp(name) for name in FILES} == stamps
    for name in ("images", "images/b.png"):
        with pytest.raises((KeyError, OSError)):
            source.stamp(name)


def change(kind, folder, name, content):
    """Write a file of a source of that kind, and return the source."""
    if kind == "memory":
        return MemorySource({name: content})
    if kind == "zip":
        return open_source(zipped(folder / "set.zip", {name: content}))
    (folder / name).write_bytes(content)
    return open_source(folder)


@pytest.mark.parametrize("kind", ["folder", "zip", "memory"])
def test_a_stamp_follows_the_content_and_stays_while_nothing_is_written(kind, tmp_path):
    source = change(kind, tmp_path, "a.png", b"one")
    before = source.stamp("a.png")
    source.open("a.png")
    assert source.stamp("a.png") == before
    time.sleep(0.02)  # a clock of files may be coarse
    for other in (b"two", b"three"):  # one of them is as long
        assert change(kind, tmp_path, "a.png", other).stamp("a.png") != before


def test_a_stamp_of_memory_is_that_of_a_zip_of_the_same_files(tmp_path):
    source = open_source(zipped(tmp_path / "set.zip", FILES))
    assert all(MemorySource(FILES).stamp(name) == source.stamp(name) for name in FILES)


def test_every_source_survives_pickling(source):
    again = pickle.loads(pickle.dumps(source))
    assert {name: again.open(name) for name in again.names()} == FILES


def test_a_zip_written_with_backslashes_and_dots_is_read(tmp_path):
    files = {"images\\a.png": b"1", "./masks/a.png": b"2", "images\\": b""}
    source = open_source(zipped(tmp_path / "set.zip", files))
    assert source.names() == {"images/a.png", "masks/a.png"}
    assert source.open("images/a.png") == b"1"


def test_a_folder_inside_a_zip_can_be_the_root(tmp_path):
    path = zipped(tmp_path / "set.zip", {"deep/cases.csv": b"1", "deeper/x.png": b"2"})
    assert open_source(path / "deep").names() == {"cases.csv"}
    with pytest.raises(CaseError, match="holds no file in 'dee'"):
        open_source(path / "dee")


def test_a_link_to_a_folder_of_images_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"1")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "images").symlink_to(tmp_path / "real")
    source = FolderSource(tmp_path / "root")
    assert source.holds("images/a.png")
    assert source.open("images/a.png") == b"1"


@pytest.mark.parametrize("name", ["nothing.zip", "text.zip"])
def test_a_root_that_is_neither_folder_nor_zip_says_so(tmp_path, name):
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(CaseError, match="Name a folder or a"):
        open_source(tmp_path / name)


def test_a_flipped_bit_in_a_zip_is_found(tmp_path):
    path = zipped(tmp_path / "set.zip", {"a.png": bytes(range(200))}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    assert open_source(path).open("a.png") == bytes(range(200))
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CaseError, match=r"a\.png: damaged"):
        open_source(path).open("a.png")


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("./images/a.png", "images/a.png"),
        ("images\\a.png", "images/a.png"),
        (" images//a.png ", "images/a.png"),
        ("", ""),
    ],
)
def test_names_are_made_plain(written, plain):
    assert plain_name(written) == plain


def _read_often(source, wrong):
    names = sorted(source.names())
    for turn in range(300):
        name = names[(turn * (os.getpid() % 7 + 1)) % len(names)]
        try:
            if source.open(name) != name.encode() * 3000:
                wrong.value += 1
        except CaseError:
            wrong.value += 1


def test_forked_workers_do_not_disturb_one_another_in_a_zip(tmp_path):
    files = {f"{number}.png": f"{number}.png".encode() * 3000 for number in range(40)}
    source = open_source(zipped(tmp_path / "set.zip", files, zipfile.ZIP_STORED))
    assert isinstance(source, ZipSource)
    fork = multiprocessing.get_context("fork")
    wrong = fork.Value("i", 0)
    workers = [fork.Process(target=_read_often, args=(source, wrong)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong.value == 0
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
