"""One number for the weights of a host."""

import hashlib

import torch
from torch import Tensor, nn

_Place = tuple[int, int, tuple[int, ...], tuple[int, ...], torch.dtype]


def fingerprint(host: nn.Module) -> str:
    """Hash names, dtypes, shapes and values of the weights and persistent buffers of `host`.

    Weights only: outputs differ in their last bits between processors. A storage that has
    several names (nnU-Net's decoder knows its encoder) is hashed once. The device is no part of it.

    Returns:
        64 hexadecimal digits of SHA-256.
    """
    digest = hashlib.sha256()
    known: dict[_Place, str] = {}
    for name, value in sorted(host.state_dict().items()):
        if not isinstance(value, Tensor):
            digest.update(f"{name}\0{value!r}\0".encode())
            continue
        place = _place(value)
        if place not in known:
            known[place] = _hash(value)
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0{known[place]}\0".encode())
    return digest.hexdigest()


def _place(value: Tensor) -> _Place:
    return (
        value.untyped_storage().data_ptr(),
        int(value.storage_offset()),
        tuple(value.shape),
        value.stride(),
        value.dtype,
    )


def _hash(value: Tensor) -> str:
    plain = value.detach().cpu().contiguous().flatten()
    return hashlib.sha256(plain.view(torch.uint8).numpy().data).hexdigest()
