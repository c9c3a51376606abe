"""The demo, on fewer cases than it has."""

from apple_seg import demo


def test_the_demo_ends_with_its_report_and_its_perturber(tmp_path, monkeypatch):
    few = dict.fromkeys(demo._SPLITS, (20, 20))
    monkeypatch.setattr(demo, "_SPLITS", few)
    said = []
    written = demo.run_demo(tmp_path / "demo", seed=0, say=said.append)
    assert [file.name for file in written.files[-2:]] == [
        "comparison.html",
        "perturber.safetensors",
    ]
    assert all(file.is_file() for file in written.files)
    assert len(said) == 4
    assert written.result.overall.n_cases == 40
