"""A perturber file fits one host, used one way, and says so when it does not."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from apple_seg.errors import ArtifactError, ConfigError, HostError, HostMismatchError
from apple_seg.host import HostSpec, InputSpec, Picture, Pipeline, fingerprint, wrap
from apple_seg.perturb import ResidualPerturber
from apple_seg.ship import attach, read_artifact, save
from hosts import CASES, ToyHost

SPEC = HostSpec(factory="hosts:ToyHost", input=InputSpec(size=(16, 16)))


def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def fitted(host, example, **wrap_arguments):
    """Wrap a host and put perturbers in that are far from the identity."""
    segmentor = wrap(host, example, **wrap_arguments)
    perturbers = [ResidualPerturber(one.channels, cells=one.cells) for one in segmentor.shapes]
    for perturber in perturbers:
        nn.init.normal_(perturber.last.weight, std=0.1)
    segmentor.install(perturbers)
    return segmentor.eval()


@pytest.fixture
def host():
    return ToyHost()


@pytest.fixture
def saved(host, tmp_path):
    """A perturber file, what its segmentor gives, and the host, detached."""
    segmentor = fitted(host, images()[:1], sites=[ToyHost.SITE])
    path = tmp_path / "perturber.safetensors"
    save(segmentor, path, spec=SPEC, cohort="abc", record={"fit": {"epochs": 1}})
    outputs = segmentor.predict(images())
    segmentor.detach()
    return path, outputs


def untouched(host):
    return not any(m._forward_hooks or m._forward_pre_hooks for m in host.modules())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attached_perturbers_give_what_the_saved_ones_gave(case, tmp_path):
    host = case.build()
    prompts = {name: value[:1] for name, value in case.prompts.items()}
    segmentor = fitted(host, case.images[:1], sites="all", prompts=prompts)
    segmentor.strength = 0.5
    path = tmp_path / "perturber.safetensors"
    save(segmentor, path)
    expected = segmentor.predict(case.images, **case.prompts)
    segmentor.detach()
    torch.manual_seed(1)  # nothing of the result may come from the seed
    twin = case.build()
    twin.load_state_dict(host.state_dict())
    attached = attach(twin, path)
    actual = attached.predict(case.images, **case.prompts)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    attached.strength = 0.0
    assert not torch.allclose(attached.predict(case.images, **case.prompts), expected)


def test_one_weight_changed_by_a_thousandth_is_refused_and_leaves_no_hook(host, saved):
    path, outputs = saved
    with torch.no_grad():
        host.decoder.weight[0, 0, 0, 0] += 1e-3
    before = fingerprint(host)
    with pytest.raises(HostMismatchError, match=r"with fingerprint .*, this hosts\.ToyHost has"):
        attach(host, path)
    assert untouched(host)
    assert fingerprint(host) == before
    insisted = attach(host, path, strict=False)
    torch.testing.assert_close(insisted.predict(images()), outputs, rtol=0, atol=0.1)


def test_another_use_of_the_same_host_is_refused(host, saved):
    path, _ = saved
    other = replace(SPEC, input=InputSpec(size=(16, 16), divide=255.0))
    with pytest.raises(HostMismatchError, match=r"another use.*input was .*'divide': 1.0"):
        attach(host, path, spec=other)
    assert untouched(host)
    attach(host, path, spec=replace(SPEC, checkpoint=Path("elsewhere.pt"))).detach()


def test_spec_of_an_older_version_is_completed_by_the_defaults():
    described = json.loads(json.dumps(SPEC.identity()))
    del described["output"]["background"], described["none"]
    completed = json.loads(json.dumps(HostSpec.from_identity(described).identity()))
    assert completed == json.loads(json.dumps(SPEC.identity()))
    with pytest.raises(ConfigError, match="described by another version"):
        HostSpec.from_identity({**described, "novelty": 1})


def test_other_code_with_the_same_weights_is_refused(host, saved):
    path, _ = saved

    class Rewritten(ToyHost):
        def forward(self, images):
            return super().forward(images) * 1.01

    twin = Rewritten()
    twin.load_state_dict(host.state_dict())
    with pytest.raises(HostMismatchError, match="the weights are the same, the code is not"):
        attach(twin, path)
    assert untouched(twin)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_truncated_file_is_refused(host, saved, share):
    path, _ = saved
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtifactError, match="cannot be read as a perturber file"):
        attach(host, path)
    assert untouched(host)


def test_flipped_bit_is_refused_anywhere_in_the_tensors(host, saved):
    path, _ = saved
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    for place in (start, (start + len(content)) // 2, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="is damaged"):
            attach(host, path)
    path.write_bytes(content)
    attach(host, path).detach()


def test_changed_header_is_refused(host, saved):
    path, _ = saved
    content = path.read_bytes()
    assert content.count(b'\\"strength\\": 1.0') == 1
    path.write_bytes(content.replace(b'\\"strength\\": 1.0', b'\\"strength\\": 0.5'))
    with pytest.raises(ArtifactError, match="is damaged"):
        attach(host, path)


def test_foreign_safetensors_file_is_refused(tmp_path, host):
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ArtifactError, match="no header of ours"):
        attach(host, path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        attach(host, tmp_path / "nowhere.safetensors")


def test_file_holds_no_weight_of_the_host_and_remembers_where_it_came_from(host, saved):
    path, _ = saved
    artifact, tensors = read_artifact(path)
    assert {name.partition(".")[0] for name in tensors} == {"perturbers", "probe"}
    assert artifact.cohort == "abc"
    assert artifact.record == {"fit": {"epochs": 1}}
    assert artifact.fingerprint == fingerprint(host)
    assert artifact.spec == json.loads(json.dumps(SPEC.identity()))
    assert artifact.sites == (ToyHost.SITE,)
    assert {"apple-seg", "torch", "python"} <= set(artifact.versions)


def test_failing_save_leaves_the_file_that_was_there(host, saved, monkeypatch):
    path, _ = saved
    content = path.read_bytes()
    segmentor = fitted(host, images()[:1], sites=[ToyHost.SITE])

    def full_disk(self, _content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(segmentor, path)
    monkeypatch.undo()
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_identity_is_saved_as_such_never(host, tmp_path):
    segmentor = wrap(host, images()[:1], sites=[ToyHost.SITE])
    with pytest.raises(TypeError, match="a Identity cannot be saved"):
        save(segmentor, tmp_path / "perturber.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_compiled_and_half_precision_hosts_are_attached(tmp_path):
    host = ToyHost().bfloat16()
    segmentor = fitted(host, images()[:1].bfloat16(), sites=[ToyHost.SITE])
    path = tmp_path / "perturber.safetensors"
    save(segmentor, path)
    expected = segmentor.predict(images().bfloat16())
    segmentor.detach()
    attached = attach(torch.compile(host, backend="eager"), path)
    assert attached.host is host
    torch.testing.assert_close(attached.predict(images().bfloat16()), expected, rtol=0, atol=0)


def test_detached_or_disabled_perturbers_are_not_saved(host, tmp_path):
    segmentor = fitted(host, images()[:1], sites=[ToyHost.SITE])
    path = tmp_path / "perturber.safetensors"
    with segmentor.disabled(), pytest.raises(HostError, match="saved enabled"):
        save(segmentor, path)
    segmentor.detach()
    with pytest.raises(HostError, match="have been detached"):
        save(segmentor, path)
    assert not path.exists()


def test_host_with_other_channels_is_refused_even_where_one_insists(saved):
    path, _ = saved

    class Wider(ToyHost):
        def __init__(self):
            super().__init__()
            self.encoder.conv = nn.Conv2d(3, 9, 3, stride=2, padding=1)
            self.decoder = nn.Conv2d(9, 1, 1)

    wider = Wider()
    with pytest.raises(HostMismatchError, match=r"a perturber of 8 channels .* has 9 there"):
        attach(wider, path, strict=False)
    assert untouched(wider)


def test_attach_and_a_vote_need_torch_numpy_and_safetensors_only(host, tmp_path):
    """In a process where everything else is missing, the saved file gives the same answers."""
    segmentor = fitted(host, images()[:1], sites=[ToyHost.SITE])
    segmentor.views = ("as-is", "flip-w")
    path = tmp_path / "perturber.safetensors"
    save(segmentor, path, spec=SPEC)
    outputs = segmentor.predict(images())
    pictures = [Picture(str(key), image.numpy()) for key, image in enumerate(images())]
    voted = np.stack(Pipeline(segmentor, SPEC, ["lesion"])(pictures))
    segmentor.views = ("as-is",)
    assert not np.array_equal(voted, np.stack(Pipeline(segmentor, SPEC, ["lesion"])(pictures)))
    segmentor.detach()
    stored = {"host": host.state_dict(), "images": images(), "outputs": outputs}
    torch.save({**stored, "voted": torch.from_numpy(voted)}, tmp_path / "t")
    script = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {{
            "pandas", "monai", "sklearn", "matplotlib", "scipy", "medpy", "PIL", "pydantic",
            "typer", "rich", "jinja2", "nibabel", "pydicom", "tqdm", "timm", "segment_anything",
        }}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import torch, apple_seg
from hosts import ToyHost
torch.set_num_threads(1)
stored = torch.load({str(tmp_path / "t")!r})
host = ToyHost()
host.load_state_dict(stored["host"])
segmentor = apple_seg.attach(host, {str(path)!r})
assert torch.equal(segmentor.predict(stored["images"]), stored["outputs"])
spec = apple_seg.HostSpec(factory="hosts:ToyHost", input=apple_seg.InputSpec(size=(16, 16)))
pipeline = apple_seg.Pipeline(segmentor, spec, ["lesion"])
masks = pipeline([apple_seg.Picture("one", image.numpy()) for image in stored["images"]])
assert torch.equal(torch.stack([torch.from_numpy(one) for one in masks]), stored["voted"])
try:
    apple_seg.Manifest
except ImportError as error:
    assert "pip install 'apple-seg[workbench]'" in str(error), error
else:
    raise AssertionError("pandas was not missing: this test proves nothing")
print("attached")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "attached", done.stderr
