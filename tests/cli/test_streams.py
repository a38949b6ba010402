import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.cli.failure import Failure
from minidock.cli.streams import Demultiplexer


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40))), st.integers(1, 50))
def test_frames_come_out_whole_however_the_stream_is_cut(frames: list[tuple[int, bytes]], step: int) -> None:
    wire = b"".join(frame(*item) for item in frames)
    demultiplexer = Demultiplexer()
    out = {1: b"", 2: b""}
    for start in range(0, len(wire), step):
        for stream, data in demultiplexer.feed(wire[start : start + step]):
            out[stream] += data
    for stream, received in out.items():
        assert received == b"".join(data for kind, data in frames if kind == stream)


def test_an_error_frame_and_nonsense_end_the_stream() -> None:
    with pytest.raises(Failure, match="error from daemon in stream: no"):
        list(Demultiplexer().feed(frame(3, b"no")))
    with pytest.raises(Failure, match="Unrecognized input header"):
        list(Demultiplexer().feed(b"Hello, world"))
