"""Who may import whom, and what importing the library costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"data", "host", "measure", "replay", "perturb", "audit", "ship"}
FRONT = {"cli", "workflow"}
"""Know all rooms; no room knows them."""
MAY_KNOW = {
    "data": set(),
    "host": set(),
    "measure": {"data"},
    "replay": {"data", "host"},
    "perturb": {"data", "host", "measure", "replay"},
    "audit": {"data", "host", "measure"},
    "ship": {"host", "perturb"},
}


def imports(path):
    """Return every module that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
    return found


def rooms_known(folder):
    files = list(folder.rglob("*.py"))
    assert files
    names = set().union(*map(imports, files))
    ours = {name for name in names if name.partition(".")[0] == "apple_seg"}
    own = ("errors", "files", "names", "processes", "views", "_lazy")
    shared = {f"apple_seg.{name}" for name in own}
    assert all(name in shared or name.split(".")[1:2][0] in ROOMS for name in ours)
    return {name.split(".")[1] for name in names if name.startswith("apple_seg.")} & ROOMS


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_room_knows_only_the_rooms_it_may(room):
    known = rooms_known(ROOT / "apple_seg" / room) - {room}
    assert known <= MAY_KNOW[room]


def test_every_room_stands_in_the_table():
    folders = {path.parent.name for path in (ROOT / "apple_seg").glob("*/__init__.py")}
    assert folders == ROOMS | FRONT
    assert set(MAY_KNOW) == ROOMS


def test_adapters_know_host_and_errors_and_no_library_of_their_host():
    names = set().union(*map(imports, (ROOT / "adapters").rglob("*.py")))
    assert {name for name in names if name.startswith("apple_seg.")} == {
        "apple_seg.errors",
        "apple_seg.host",
    }
    foreign = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert foreign == {"torch", "apple_seg"}


def test_importing_costs_at_most_three_tenths_of_a_second_more_than_torch():
    script = (
        "import time, sys, torch; start = time.perf_counter(); import apple_seg; "
        "apple_seg.attach, apple_seg.wrap; print(time.perf_counter() - start); "
        "print(*({'pandas', 'monai', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        seconds, heavy = done.stdout.split("\n")[:2]
        times.append(float(seconds))
        assert heavy == ""
    assert min(times) < 0.3


def test_public_names_are_all_there():
    import apple_seg

    for name in apple_seg.__all__:
        assert getattr(apple_seg, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'debias'"):
        apple_seg.debias  # noqa: B018


def test_no_path_of_a_machine_stands_in_the_project():
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "README.md" in listed
    private = ["/" + "work/", "/" + "root/", "/" + "home/"]
    for name in listed:
        if not (ROOT / name).is_file():  # deleted, and not yet committed
            continue
        content = (ROOT / name).read_bytes()
        if b"\0" in content[:4096]:
            continue
        text = content.decode("utf-8", errors="replace")
        assert not [path for path in private if path in text], name
