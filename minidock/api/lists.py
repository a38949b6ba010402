"""Lists that can be longer than memory allows: sent as JSON while they are found."""

from collections.abc import Iterator
from itertools import islice

import msgspec

from minidock.api.exchange import JSON, Exchange, Reply, json_reply
from minidock.api.wire import to_wire

AT_ONCE = 1000


def answer_list(
    exchange: Exchange, items: Iterator[msgspec.Struct], if_empty: list[object] | None
) -> Reply | None:
    """Answer with a list of structs: a short one as a whole, of a long one each part as soon as it is there.

    `if_empty` is what Docker answers when there is nothing. An error before the first part is an ordinary
    one; after it, it breaks the answer off.
    """
    first = to_wire(list(islice(items, AT_ONCE)))
    if len(first) < AT_ONCE:
        return json_reply(first or if_empty)
    with exchange.stream(JSON) as stream:
        stream.write(b"[" + _inside(first))
        while part := to_wire(list(islice(items, AT_ONCE))):
            stream.write(b"," + _inside(part))
        stream.write(b"]\n")
    return None


def _inside(part: list[object]) -> bytes:
    return msgspec.json.encode(part)[1:-1]
