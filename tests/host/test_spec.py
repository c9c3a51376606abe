"""What a host's file may not say of it, and that a spec says the same once written and read."""

from dataclasses import replace

import pytest
import torch

from apple_seg.errors import ConfigError
from apple_seg.host import HostSpec, InputSpec, OutputSpec, PromptSpec


def spec(**tables):
    return HostSpec(factory="hosts:ToyHost", **tables)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": "hosts:Nothing"}, "cannot import 'hosts:Nothing'"),
        ({"factory": "no_such_package:build"}, "cannot import 'no_such_package:build'"),
        ({"arguments": {"depth": 3}}, "does not take these arguments.*depth"),
        ({"factory": "hosts:_smp", "arguments": {"encoder": "x"}}, "returned a function, not a"),
    ],
)
def test_factory_that_cannot_be_called_says_so(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(spec(), **changes).build()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputSpec(std=(0.0,)), "finite and not 0"),
        (lambda: InputSpec(clip=(5.0, 1.0)), r"clip is \(low, high\)"),
        (lambda: InputSpec(size=(0, 4)), "size is"),
        (lambda: OutputSpec(threshold=5), "between 0 and 1"),
        (lambda: OutputSpec(channels={"a": -1}), "channels count from 0"),
        (lambda: OutputSpec(activation="softmax", channels={"a": 0}), "background and cannot"),
        (lambda: PromptSpec(kind="box", columns=("x", "y")), "box prompt has 4 columns"),
        (lambda: PromptSpec(kind="box", jitter=2.0), "jitter is a share"),
        (lambda: spec(input={"divide": 255.0}), r"a dict, and must be an apple_seg\.InputSpec"),
        (lambda: spec(output={"activation": "softmax"}), "output is a dict"),
        (lambda: spec(prompt={"kind": "box"}), "prompt is a dict"),
        (lambda: spec(arguments={"norm": torch.nn.ReLU}), "values that JSON can hold"),
    ],
)
def test_spec_that_cannot_be_meant_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_spec_is_the_same_once_it_was_written_down():
    given = spec(input=InputSpec(size=(8, 8), divide=255.0), output=OutputSpec(threshold=0.4))
    assert HostSpec.from_identity(given.identity()) == given
