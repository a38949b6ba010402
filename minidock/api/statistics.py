"""GET /containers/{name}/stats: samples as Docker writes them, one a second or one alone.

Each carries the sample before it as `precpu_stats`, since a client computes percentages from two. The names
are in small letters, unlike all others of the API. Docker Engine API, ContainerStats.
"""

from typing import Any

import msgspec

from minidock.api.exchange import JSON, Exchange, Reply, json_reply
from minidock.engine import containers, statistics, times
from minidock.engine.containers import Container
from minidock.engine.engine import Engine
from minidock.engine.model import ZERO_TIME
from minidock.engine.statistics import Sample
from minidock.errors import InvalidParameter

INTERVAL = 1.0

Json = dict[str, Any]


def stats(engine: Engine, exchange: Exchange, name: str) -> Reply | None:
    """Answer one document, or with `stream` (the default) one a second until the container is removed."""
    container = containers.find(engine, name)
    query = exchange.query
    streaming, one_shot = query.boolean("stream", default=True), query.boolean("one-shot")
    if streaming and one_shot:
        raise InvalidParameter("cannot have stream=true and one-shot=true")
    before = None
    if not streaming:
        if not one_shot and container.is_running:
            before = statistics.sample(engine, container)
            exchange.watch(timeout=INTERVAL)
        return json_reply(document(container, statistics.sample(engine, container), before))
    with exchange.stream(JSON) as stream:
        while container.status != "gone":
            present = statistics.sample(engine, container)
            stream.write(msgspec.json.encode(document(container, present, before)) + b"\n")
            before = present if present.used else None
            exchange.watch(timeout=INTERVAL)
    return None


def document(container: Container, present: Sample, before: Sample | None) -> Json:
    """Return the JSON of one sample."""
    used = present.used
    made: Json = {
        "name": f"/{container.name}",
        "id": container.id,
        "read": times.to_text(present.time_ns) if used else ZERO_TIME,
        "preread": times.to_text(before.time_ns) if before else ZERO_TIME,
        "pids_stats": {},
        "blkio_stats": _block_io(present),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(present),
        "precpu_stats": cpu(before),
        "memory_stats": {},
    }
    if used:
        made["pids_stats"] = _present({"current": used.pids, "limit": used.pids_limit})
        made["memory_stats"] = _present(
            {
                "usage": used.memory_usage,
                "max_usage": used.memory_max_usage,
                "stats": used.memory,
                "failcnt": used.memory_failures,
                "limit": present.memory_limit,
            }
        )
        if present.networks:
            made["networks"] = present.networks
    return made


def cpu(sample: Sample | None) -> Json:
    """Return the CPU part of a sample; zeros where there is none."""
    used = sample.used if sample else None
    if sample is None or used is None:
        usage: Json = {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}
        return {"cpu_usage": usage, "throttling_data": _throttling(0, 0, 0)}
    usage = {
        "total_usage": used.cpu_usage_ns or 0,
        "usage_in_kernelmode": used.cpu_system_ns or 0,
        "usage_in_usermode": used.cpu_user_ns or 0,
    }
    if used.cpu_per_cpu_ns:
        usage["percpu_usage"] = list(used.cpu_per_cpu_ns)
    return {
        "cpu_usage": usage,
        "system_cpu_usage": sample.system_cpu_ns,
        "online_cpus": sample.online_cpus,
        "throttling_data": _throttling(
            used.cpu_periods or 0, used.cpu_throttled_periods or 0, used.cpu_throttled_ns or 0
        ),
    }


def _throttling(periods: int, throttled: int, time_ns: int) -> Json:
    return {"periods": periods, "throttled_periods": throttled, "throttled_time": time_ns}


def _block_io(sample: Sample) -> Json:
    """Return the counters by Docker's names; those that no kernel of today has are null, as Docker's are."""
    made: Json = dict.fromkeys(
        (
            "io_service_bytes_recursive",
            "io_serviced_recursive",
            "io_queue_recursive",
            "io_service_time_recursive",
            "io_wait_time_recursive",
            "io_merged_recursive",
            "io_time_recursive",
            "sectors_recursive",
        )
    )
    if sample.used:
        for name, counters in (
            ("io_service_bytes_recursive", sample.used.block_io_bytes),
            ("io_serviced_recursive", sample.used.block_io_operations),
        ):
            made[name] = [
                {"major": one.major, "minor": one.minor, "op": one.operation, "value": one.value}
                for one in counters
            ]
    return made


def _present(values: Json) -> Json:
    return {name: value for name, value in values.items() if value is not None}
