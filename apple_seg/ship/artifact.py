"""One small file that leaves: perturbers, where they sit, and which host they belong to."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from apple_seg.errors import ArtifactError, HostError, HostMismatchError
from apple_seg.files import write_bytes
from apple_seg.host import (
    Example,
    HostSpec,
    PerturbedSegmentor,
    Segment,
    Site,
    fingerprint,
    unwrap,
    wrap,
)
from apple_seg.perturb.perturbers import build_perturber, describe_perturber
from apple_seg.ship.probe import Probe, compare_probes, enlarge, run_probe, take_probe
from apple_seg.views import AS_IS

FORMAT = 1
_HEADER = "apple_seg"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What a perturber file says of itself."""

    format: int
    sites: tuple[Site, ...]
    perturbers: tuple[Mapping[str, Any], ...]
    strength: float
    fingerprint: str
    """Of the host's weights; see `host/fingerprint.py`."""

    host_class: str
    spec: Mapping[str, Any] | None
    """How the host is used in deployment: `HostSpec.identity()`."""

    versions: Mapping[str, str]
    cohort: str | None
    """Digest of the cases that were fitted on."""

    record: Mapping[str, Any]
    """The fit, and the numbers of the audit where there was one."""

    example_shape: tuple[int, ...]

    views: tuple[str, ...]
    """Whose masks are put to the vote for an answer; one view for none."""

    digest: str
    """SHA-256 of the tensors and of all the above."""


def save(
    segmentor: PerturbedSegmentor,
    path: str | Path,
    *,
    spec: HostSpec | None = None,
    cohort: str | None = None,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write the perturbers of `segmentor` to one `.safetensors` file; no weight of the host.

    Inference with them needs no attribute. The file is written under a temporary name and renamed.

    Args:
        segmentor: A wrapped host, with the perturbers of a fit.
        path: Where to.
        spec: How the host is used; `attach` then refuses another use.
        cohort: `Cohort.digest()` of the cases fitted on.
        record: What to remember of fit and audit, as plain values.

    Raises:
        TypeError: A perturber cannot be rebuilt from a file, the identity for one.
        HostError: The perturbers have been detached, or are disabled.
    """
    from safetensors.torch import save as to_bytes

    segmentor.check_attached()
    if not segmentor.enabled:
        raise HostError("perturbers are saved enabled; leave disabled() first")
    described = [describe_perturber(module) for module in segmentor.perturbers]
    tensors = _payload(segmentor)
    example = segmentor.example
    header = {
        "format": FORMAT,
        "sites": [asdict(site) for site in segmentor.sites],
        "perturbers": described,
        "strength": segmentor.strength,
        "fingerprint": fingerprint(segmentor.host),
        "host_class": _class_of(segmentor.host),
        "spec": None if spec is None else spec.identity(),
        "versions": _versions(),
        "cohort": cohort,
        "record": dict(record or {}),
        "example_shape": list(example.shape) if example else [],
        **({"views": list(segmentor.views)} if len(segmentor.views) > 1 else {}),
    }
    header = json.loads(json.dumps(header))  # as it will be read
    header["digest"] = _digest(tensors, header)
    content = to_bytes(tensors, metadata={_HEADER: json.dumps(header)})
    write_bytes(path, content)


def read_artifact(path: str | Path) -> tuple[Artifact, dict[str, Tensor]]:
    """Read a perturber file and check that no bit of it has changed.

    Raises:
        ArtifactError: The file is missing, truncated, damaged, or none of ours.
    """
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="pt") as opened:
            header = (opened.metadata() or {}).get(_HEADER)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except Exception as error:
        raise ArtifactError(f"{path} cannot be read as a perturber file: {error}") from error
    if header is None:
        raise ArtifactError(f"{path} was not written by apple_seg.save: it has no header of ours")
    try:
        return _parse(json.loads(header), tensors, str(path)), tensors
    except ArtifactError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged: its header makes no sense ({error})") from error


def _parse(said: dict[str, Any], tensors: Mapping[str, Tensor], name: str) -> Artifact:
    if said.get("format") != FORMAT:
        raise ArtifactError(
            f"{name} has format {said.get('format')}, this version of apple_seg reads {FORMAT}"
        )
    if said.pop("digest", None) != (digest := _digest(tensors, said)):
        raise ArtifactError(f"{name} is damaged: it is not what was saved")
    said["sites"] = tuple(Site(**{**site, "clean": tuple(site["clean"])}) for site in said["sites"])
    said.setdefault("views", AS_IS)  # where there is no vote, the header says nothing of one
    for part in ("perturbers", "example_shape", "views"):
        said[part] = tuple(said[part])
    return Artifact(**said, digest=digest)


def attach(
    host: nn.Module,
    path: str | Path,
    *,
    spec: HostSpec | None = None,
    segment: Segment | None = None,
    strict: bool = True,
) -> PerturbedSegmentor:
    """Hook the perturbers saved at `path` into the host they were fitted for.

    Needs torch, numpy and safetensors only. No attribute of any patient is needed. Where the fit
    chose answers by the vote of several views (`views` of what comes back), a `Pipeline` gives
    them; the host, called once, gives one of the views.

    Args:
        host: The host, with the weights it was deployed with.
        path: What `save` wrote.
        spec: How you use the host; compared with how it was used in the fit.
        segment: How to run a host that no adapter knows.
        strict: Whether to refuse another host, another use, or other outputs. Damage is
            always refused.

    Raises:
        ArtifactError: The file is damaged.
        HostMismatchError: The host's weights, its use, or what comes out are not the same.
        SiteError: The host does not have these sites.
    """
    artifact, tensors = read_artifact(path)
    host = unwrap(host)
    if strict:
        _check_host(host, artifact, path)
        _check_spec(spec, artifact, path)
    perturbers = [build_perturber(one) for one in artifact.perturbers]
    for place, perturber in enumerate(perturbers):
        _load(perturber, _below(tensors, f"perturbers.{place}."), path)
    prompts = _below(tensors, "probe.prompts.")
    weights = next(host.parameters())
    segmentor = wrap(
        host,
        enlarge(tensors["probe.images"], artifact.example_shape).to(weights),
        sites=artifact.sites,
        segment=segment,
        prompts={name: value.to(weights) for name, value in prompts.items()},
    )
    try:
        _check_shapes(segmentor, artifact, path)
        segmentor.install([perturber.requires_grad_(False) for perturber in perturbers])
        segmentor.strength, segmentor.views = artifact.strength, artifact.views
        segmentor.eval()
        if strict:
            stored = Probe(*(tensors[f"probe.{name}"] for name in Probe._fields))
            example = Example(artifact.example_shape, prompts)
            compare_probes(run_probe(segmentor, example, stored.images), stored, str(path))
    except BaseException:
        segmentor.detach()
        raise
    return segmentor


def _payload(segmentor: PerturbedSegmentor) -> dict[str, Tensor]:
    """Return the perturbers' weights, and a probe with what host and perturbers made of it."""
    tensors = {
        f"perturbers.{place}.{name}": value.detach().cpu().contiguous()
        for place, module in enumerate(segmentor.perturbers)
        for name, value in module.state_dict().items()
    }
    if segmentor.example is None:
        raise ArtifactError("this segmentor was not made by wrap(): it has no example to prove on")
    for name, value in segmentor.example.prompts.items():
        tensors[f"probe.prompts.{name}"] = value.detach().cpu().contiguous()
    probe = take_probe(segmentor, segmentor.example)
    return {**tensors, **{f"probe.{name}": value for name, value in probe._asdict().items()}}


def _check_host(host: nn.Module, artifact: Artifact, path: str | Path) -> None:
    if (actual := fingerprint(host)) != artifact.fingerprint:
        raise HostMismatchError(
            f"{path} belongs to a {artifact.host_class} with fingerprint "
            f"{artifact.fingerprint[:16]}, this {_class_of(host)} has {actual[:16]}. Load the "
            "weights it was fitted on, or pass strict=False if you know better"
        )


def _check_shapes(segmentor: PerturbedSegmentor, artifact: Artifact, path: str | Path) -> None:
    for site, shape, described in zip(
        segmentor.sites, segmentor.shapes, artifact.perturbers, strict=True
    ):
        if shape.channels != described["channels"]:
            raise HostMismatchError(
                f"{path} has a perturber of {described['channels']} channels for {site}, this "
                f"host has {shape.channels} there"
            )


def _check_spec(spec: HostSpec | None, artifact: Artifact, path: str | Path) -> None:
    if spec is None or artifact.spec is None:
        return
    known = HostSpec.from_identity(artifact.spec)
    used, here = (json.loads(json.dumps(one.identity())) for one in (known, spec))
    differing = sorted(key for key in used | here if used.get(key) != here.get(key))
    if differing:
        said = "; ".join(f"{key} was {used.get(key)}, is {here.get(key)}" for key in differing)
        raise HostMismatchError(f"{path} was fitted for another use of this host: {said}")


def _load(perturber: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    try:
        perturber.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        raise ArtifactError(f"{path} does not hold the perturber it describes: {error}") from error


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _class_of(host: nn.Module) -> str:
    return f"{type(host).__module__}.{type(host).__qualname__}"


def _versions() -> dict[str, str]:
    return {
        "apple-seg": version("apple-seg"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
