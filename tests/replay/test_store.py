"""What every store promises: records come back bit for bit, what does not fit is refused."""

import pytest
import torch

from apple_seg.errors import StoreError
from apple_seg.replay import Layout, MemoryStore, Stream
from stores import LAYOUT, content, opened, same


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore(LAYOUT, 10)
    return opened(tmp_path / "records")


def test_records_come_back_bit_for_bit_in_any_order(store):
    store.write([7, 2, 4], content([7, 2, 4]))
    assert same(store.read([4, 7, 4, 2]), content([4, 7, 4, 2]))
    assert not same(store.read([4, 7, 4, 2]), content([7, 4, 4, 2]))
    assert store.missing() == [0, 1, 3, 5, 6, 8, 9]
    assert {name: len(rows) for name, rows in store.read([]).items()} == dict.fromkeys(
        store.read([2]), 0
    )


def test_special_values_keep_their_bits(store):
    streams = content([0])
    patterns = [0x7FC1, 0x8000, 0xFF80, 0x0001] * 3  # a NaN's payload, -0, -inf, subnormal
    bits = torch.tensor(patterns, dtype=torch.int32).to(torch.int16)
    streams["brain"] = bits.view(torch.bfloat16).view(1, 2, 2, 3)
    store.write([0], streams)
    assert torch.equal(store.read([0])["brain"].view(torch.int16).flatten(), bits)
    assert not torch.equal(store.read([0])["brain"], streams["brain"])  # as numbers, NaN differs


def test_what_was_read_is_no_window_on_the_store(store):
    store.write([0], content([0]))
    store.read([0])["single"].zero_()
    assert same(store.read([0]), content([0]))
    given = content([1])
    store.write([1], given)
    given["single"].zero_()
    assert same(store.read([1]), content([1]))


def test_strided_tensors_with_gradients_are_kept_by_value(store):
    streams = content([0, 1])
    streams["single"] = streams["single"].transpose(1, 2).contiguous().transpose(1, 2)
    streams["half"].requires_grad_()
    assert not streams["single"].is_contiguous()
    store.write([0, 1], streams)
    assert same(store.read([0, 1]), content([0, 1]))


def test_a_record_can_be_written_again(store):
    store.write([3], content([4]))
    store.write([3], content([3]))
    assert same(store.read([3]), content([3]))


def test_missing_and_foreign_records_are_refused_by_number(store):
    store.write([0, 1], content([0, 1]))
    with pytest.raises(StoreError, match="record 5 is not there, 2 of 10 are"):
        store.read([0, 5])
    for outside in (10, -1):
        with pytest.raises(IndexError, match=f"record {outside} is out of range.* 10, from 0"):
            store.read([0, outside])
        with pytest.raises(IndexError, match=f"record {outside} is out of range"):
            store.write([outside], content([0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": None}, "streams must be single, half, brain, mask, place; got single, half, b"),
        ({"more": torch.ones(2)}, "got single, half, brain, mask, place, more"),
        ({"half": torch.ones(2, 7)}, "'half' must be torch.float16 .*, got torch.float32"),
        ({"half": torch.ones(2, 8).half()}, r"of shape \(2, 7\), got .* of shape \(2, 8\)"),
        ({"place": torch.ones(1).long()}, r"'place' must be .* \(2,\), got .* \(1,\)"),
    ],
)
def test_a_write_that_does_not_fit_the_layout_writes_nothing(store, change, message):
    streams = {**content([0, 1]), **change}
    streams = {name: tensor for name, tensor in streams.items() if tensor is not None}
    with pytest.raises(ValueError, match=message):
        store.write([0, 1], streams)
    with pytest.raises(ValueError, match=r"once a call, got \[1, 1\]"):
        store.write([1, 1], content([1, 1]))
    assert store.missing() == list(range(10))
    store.write([0, 1], content([0, 1]))
    assert store.missing() == list(range(2, 10))


def test_a_cleared_store_is_filled_anew(store):
    store.write(range(10), content(range(10)))
    store.reload()
    assert store.missing() == []
    store.clear()
    assert store.missing() == list(range(10))
    store.reload()
    assert store.missing() == list(range(10))
    store.write([1], content([11]))
    store.reload()
    assert same(store.read([1]), content([11]))
    store.close()
    with pytest.raises(StoreError):
        store.read([1])


def test_streams_and_records_start_at_multiples_of_64_bytes():
    # 60, 14, 24, 5 and 8 bytes.
    assert [stream.nbytes for stream in LAYOUT.streams] == [60, 14, 24, 5, 8]
    assert list(LAYOUT.offsets.values()) == [0, 64, 128, 192, 256]
    assert LAYOUT.record_bytes == 320
    wide = Layout((Stream("a", (64,), torch.uint8), Stream("b", (65,), torch.uint8)))
    assert (wide.offsets, wide.record_bytes) == ({"a": 0, "b": 64}, 192)


def test_empty_layouts_and_stores_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one stream"):
        Layout(())
    with pytest.raises(ValueError, match=r"'a' of shape \(0, 3\) holds no byte"):
        Layout((Stream("a", (0, 3), torch.uint8),))
    with pytest.raises(ValueError, match="a name of its own, got a, a"):
        Layout((Stream("a", (1,), torch.uint8), Stream("a", (2,), torch.uint8)))
    with pytest.raises(ValueError, match="at least one record, got 0"):
        MemoryStore(LAYOUT, 0)
    with pytest.raises(ValueError, match="at least one record, got 0"):
        opened(tmp_path / "records", 0)
    with pytest.raises(ValueError, match="numbered from 0, got -1"):
        opened(tmp_path / "records", writer=-1)
    assert list(tmp_path.iterdir()) == []
