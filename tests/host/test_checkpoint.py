"""Checkpoints as users hold them: all weights or none."""

import pytest
import torch
from safetensors.torch import save_file

from apple_seg.errors import CheckpointError
from apple_seg.host import fingerprint, load_checkpoint
from hosts import ToyHost


class Nested(ToyHost):
    """A host whose own names begin with a known prefix."""

    def __init__(self):
        super().__init__()
        self.model = ToyHost()


def weights(host, prefix=""):
    return {f"{prefix}{name}": value for name, value in host.state_dict().items()}


@pytest.mark.parametrize("make", [ToyHost, Nested])
@pytest.mark.parametrize(
    "wrap_",
    [
        lambda host: weights(host),
        lambda host: {"state_dict": weights(host, "model."), "epoch": 3},
        lambda host: {"network_weights": weights(host), "init_args": {"plans": "x"}},
        lambda host: {"model": weights(host, "module."), "optimizer": {"state": {}}, "epoch": 1},
        lambda host: {"state_dict": weights(host, "net._orig_mod.")},
        lambda host: {"state_dict": weights(host), "best_metric": torch.tensor(0.8)},
        lambda host: {"checkpoint": 1, "model": {"state_dict": weights(host)}},
    ],
    ids=["bare", "lightning", "nnunet", "medsam", "compiled", "beside-a-tensor", "twice"],
)
def test_wrappers_and_prefixes_are_recognised(make, wrap_, tmp_path):
    source, host = make(), make()
    assert fingerprint(host) != fingerprint(source)
    torch.save(wrap_(source), tmp_path / "host.pt")
    load_checkpoint(host, tmp_path / "host.pt")
    assert fingerprint(host) == fingerprint(source)


def test_safetensors_are_read(tmp_path):
    source, host = ToyHost(), ToyHost()
    save_file(source.state_dict(), tmp_path / "host.safetensors")
    load_checkpoint(host, tmp_path / "host.safetensors")
    assert fingerprint(host) == fingerprint(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("decoder.bias"), r"1 missing \(decoder.bias\); 0 left over"),
        (lambda w: w.update(head=torch.zeros(1)), r"0 missing; 1 left over \(head\)"),
        (
            lambda w: w.update({"decoder.bias": torch.zeros(5)}),
            r"1 of another shape \(decoder.bias is \(5,\), the host's is \(1,\)\)",
        ),
    ],
    ids=["missing", "left-over", "shape"],
)
def test_partial_match_lists_the_keys_and_changes_nothing(change, message, tmp_path):
    host, held = ToyHost(), weights(ToyHost())
    change(held)
    torch.save({"state_dict": held}, tmp_path / "host.pt")
    before = fingerprint(host)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(host, tmp_path / "host.pt")
    assert fingerprint(host) == before


def test_pickle_with_code_is_refused_unless_trusted(tmp_path):
    host = ToyHost()
    torch.save(host, tmp_path / "host.pt")
    with pytest.raises(CheckpointError, match="trust_pickle=True: reading it then runs the code"):
        load_checkpoint(ToyHost(), tmp_path / "host.pt")
    twin = ToyHost()
    load_checkpoint(twin, tmp_path / "host.pt", trust_pickle=True)
    assert fingerprint(twin) == fingerprint(host)


def test_truncated_missing_and_empty_files_are_refused(tmp_path):
    path = tmp_path / "host.pt"
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(ToyHost(), path)
    torch.save(weights(ToyHost()), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="may be truncated"):
        load_checkpoint(ToyHost(), path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match=r"holds no weights under any of .*\['epoch'\]"):
        load_checkpoint(ToyHost(), path)


def test_fingerprint_sees_values_names_and_buffers_and_not_aliases_twice():
    host = ToyHost()
    before = fingerprint(host)
    host.decoder.register_buffer("statistic", torch.zeros(1))
    with_buffer = fingerprint(host)
    assert with_buffer != before
    with torch.no_grad():
        host.decoder.statistic += 1
    assert fingerprint(host) != with_buffer
    host.alias = host.encoder
    aliased = fingerprint(host)
    with torch.no_grad():
        host.encoder.conv.bias[0] += 1e-3
    assert fingerprint(host) != aliased
