"""Sites read and rebuild every container that modules pass around."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from apple_seg.errors import SiteError
from apple_seg.host import Site

Pair = namedtuple("Pair", "high low")
OLD, NEW, OTHER = torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)


class Output(OrderedDict[str, Tensor]):
    """Keyed and attributed, as transformers' outputs are."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)


@pytest.mark.parametrize(
    ("container", "item"),
    [
        ([OTHER, OLD], -1),
        ((OLD, OTHER), 0),
        (Pair(OTHER, OLD), 1),
        ({"out": OLD, "aux": OTHER}, "out"),
        (OrderedDict(out=OLD, aux=OTHER), "out"),
        (Output(out=OLD, aux=OTHER), "out"),
    ],
    ids=["list", "tuple", "named-tuple", "dict", "ordered-dict", "attributed-dict"],
)
def test_replace_rebuilds_the_container_and_leaves_the_original(container, item):
    site = Site("encoder", item=item)
    assert site.read(container) is OLD
    replaced = site.replace(container, NEW)
    assert type(replaced) is type(container)
    assert replaced[item] is NEW
    assert site.read(container) is OLD
    kept = list(replaced.values() if hasattr(replaced, "values") else replaced)
    assert any(value is OTHER for value in kept)
    if isinstance(container, Output):
        assert replaced.out is NEW
        assert container.out is OLD


def test_whole_output_is_replaced_where_no_item_is_named():
    assert Site("encoder").replace(OLD, NEW) is NEW


@pytest.mark.parametrize(
    ("site", "value"),
    [
        (Site("decoder", io="input"), ((OLD, OTHER), {})),
        (Site("decoder", io="input", item=1), ((OTHER, OLD), {})),
        (Site("decoder", io="input", item="embeddings"), ((), {"embeddings": OLD, "pe": OTHER})),
    ],
    ids=["first", "second", "keyword"],
)
def test_inputs_are_read_and_replaced_by_place_or_keyword(site, value):
    assert site.read(value) is OLD
    replaced = site.replace(value, NEW)
    assert site.read(replaced) is NEW
    assert site.read(value) is OLD


@pytest.mark.parametrize(
    ("site", "value", "message"),
    [
        (Site("encoder"), [OLD, OTHER], r"encoder holds a list of 2, not a tensor"),
        (Site("encoder", item=7), [OLD, OTHER], r"encoder\[7\] is not in a list of 2"),
        (Site("encoder", item="x"), {"out": OLD}, r"is not in a dict with keys \['out'\]"),
        (Site("d", io="input"), ((), {"x": OLD}), r"0 positional inputs and keywords \['x'\]"),
    ],
    ids=["container", "index", "key", "no-positional-input"],
)
def test_wrong_item_says_what_there_is(site, value, message):
    with pytest.raises(SiteError, match=message):
        site.read(value)


def test_site_errors_are_value_errors():
    @dataclass
    class Alien:
        latent: Tensor

    with pytest.raises(ValueError, match="holds a Alien"):
        Site("encoder").read(Alien(OLD))
