"""The rows of the comparison: each is one piece of work that every contestant does in the same way."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import api, images, memory, published, runtimes
from bench.engines import IMAGE, Engine, Failed
from bench.measure import Contestant, Result, take_turns

MANY = 40
AT_ONCE = 8
LOADS = 4  # the first is the warm-up
FLOOD_MEGABYTES = 256
SETTLE = 2.0


@dataclass(frozen=True)
class Machine:
    """What a row may use: the engines, the image files, the runtimes' bundle, and the number of turns."""

    engines: Sequence[Engine]
    big_images: Sequence[Path]
    bundle: Path
    minidock: str
    turns: int


def run_and_remove(machine: Machine) -> Iterator[Result]:
    """`run --rm`, whole command, and the same through the bare API."""
    result = Result("run --rm, no network, whole command", "ms", "docker/5")
    take_turns(result, {e.name: Contestant(_runner(e)) for e in machine.engines}, machine.turns)
    yield result


def run_bridged(machine: Machine) -> Iterator[Result]:
    """`run --rm` on the default bridge, of the engines that have one of their own."""
    result = Result("run --rm, bridge network, whole command", "ms", "docker/6")
    run = ("run", "--rm", IMAGE, "true")
    take_turns(
        result, {e.name: Contestant(_command(e, *run)) for e in machine.engines if e.host}, machine.turns
    )
    yield result


def engine_alone(machine: Machine) -> Iterator[Result]:
    """A created container's start, end and removal over one connection: the engine without a command line."""
    result = Result("start + wait + rm over the API", "ms", "")
    take_turns(result, {e.name: _over_api(e) for e in machine.engines if e.host}, machine.turns)
    yield result


def one_bundle(machine: Machine) -> Iterator[Result]:
    """One OCI bundle to its end: our warm runtime (spawner and shim), runc, crun, and minidock-runc cold."""
    result = Result("run one OCI bundle; minidock: warm", "ms", "under runc")
    program = machine.minidock + "-runc"
    with runtimes.warm(machine.bundle) as act:
        contestants = {"minidock": Contestant(act)}
        for name, cold in runtimes.commands(machine.bundle, program if Path(program).exists() else None):
            contestants[name] = Contestant(cold)
        take_turns(result, contestants, machine.turns)
    yield result


def command_lines(machine: Machine) -> Iterator[Result]:
    """The command lines' own start-up: `--version` without an engine, and `ps` with one container to show."""
    started = Result("--version (start-up of the command line)", "ms", "docker x 1.6")
    asked = Result("ps (docker and minidock command lines)", "ms", "docker x 1.6")
    subject = machine.engines[0]
    docker, own = subject.command[0], machine.minidock
    lines = {"minidock": own, "docker": docker}
    versions = {name: _with_program(subject, word) for name, word in lines.items()}
    take_turns(
        started, {n: Contestant(_command(e, "--version")) for n, e in versions.items()}, machine.turns * 2
    )
    yield started
    try:
        subject.run("run", "-d", "--name", "shown", *subject.no_network, IMAGE, "sleep", "600")
        take_turns(asked, {n: Contestant(_command(e, "ps")) for n, e in versions.items()}, machine.turns * 2)
    except Failed as error:
        asked.skipped["minidock"] = str(error)
    finally:
        _quietly(subject, "rm", "-f", "shown")
    yield asked


def execute(machine: Machine) -> Iterator[Result]:
    """`exec` in a running container."""
    result = Result("exec CONTAINER true", "ms", "docker/2")
    contestants = {}
    for engine in machine.engines:
        try:
            engine.run("run", "-d", "--name", "target", *engine.no_network, IMAGE, "sleep", "600")
            contestants[engine.name] = Contestant(_command(engine, "exec", "target", "true"))
        except Failed as error:
            result.skipped[engine.name] = str(error)
    take_turns(result, contestants, machine.turns)
    for engine in machine.engines:
        _quietly(engine, "rm", "-f", "target")
    yield result


def many(machine: Machine) -> Iterator[Result]:
    """40 containers started 8 at a time, their memory while they run, and `rm -f` of all of them."""
    started = Result(f"{MANY} x run -d, {AT_ONCE} at a time", "s", "docker/5")
    removed = Result(f"rm -f of those {MANY}", "s", "docker/5")
    each = Result("memory per running container (PSS of the engine's processes)", "MB", "4")
    idle = Result("memory of the idle engine (PSS)", "MB", "60")
    for engine in machine.engines:
        time.sleep(SETTLE)
        before = memory.proportional(engine.processes())
        if before:
            idle.samples[engine.name] = [float(before)]
        for turn in range(2):
            names = [f"many-{turn}-{number}" for number in range(MANY)]
            take_turns(
                started, {engine.name: Contestant(_start_all(engine, names, engine.no_network))}, 1, False
            )
            if engine.name in started.skipped:
                _quietly(engine, "rm", "-f", *names)
                break
            if before:
                after = memory.proportional(engine.processes())
                each.samples.setdefault(engine.name, []).append((after - before) / MANY)
            take_turns(
                removed, {engine.name: Contestant(_command(engine, "rm", "-f", *names))}, 1, warm_up=False
            )
    yield from (started, removed, idle, each)


def many_bridged(machine: Machine) -> Iterator[Result]:
    """40 containers on the default bridge, as plain `run -d` makes them, and their removal."""
    started = Result(f"{MANY} x run -d on the bridge, {AT_ONCE} at a time", "s", "docker/5")
    removed = Result(f"rm -f of those {MANY} on the bridge", "s", "docker/5")
    for turn in range(2):
        names = [f"bridged-{turn}-{number}" for number in range(MANY)]
        for engine in machine.engines:
            if engine.host:
                take_turns(started, {engine.name: Contestant(_start_all(engine, names, []))}, 1, False)
                take_turns(removed, {engine.name: Contestant(_command(engine, "rm", "-f", *names))}, 1, False)
    yield from (started, removed)


def load(machine: Machine) -> Iterator[Result]:
    """`load` of an image of 170 MB in 8,700 entries, in each turn another one.

    They are removed when all is measured: ext4 does not give out the inodes of removed files for five
    minutes, and looking for others makes each new file thirty times as dear to whoever comes next.
    """
    result = Result("load a 170 MB image of 8,700 entries", "s", "under docker and podman")
    take_turns(
        result, {e.name: Contestant(_loader(e, machine.big_images)) for e in machine.engines}, LOADS - 1
    )
    for engine in machine.engines:
        for number in range(LOADS):
            _quietly(engine, "rmi", "-f", f"{images.BIG}:{number}")
    yield result


def flood(machine: Machine) -> Iterator[Result]:
    """A container writes 256 MB to its standard output and the client reads all of it."""
    result = Result(f"{FLOOD_MEGABYTES} MB to stdout, read by the client", "s", "docker/3")
    # Lines of text, as programs write them: zero bytes would measure how a log escapes what no program logs.
    line = "minidock" * 8
    program = ("sh", "-c", f"yes {line} | head -c {FLOOD_MEGABYTES << 20}")
    contestants = {
        engine.name: Contestant(
            _command(engine, "run", "--rm", *engine.no_network, IMAGE, *program, discard=True)
        )
        for engine in machine.engines
    }
    take_turns(result, contestants, 2, warm_up=False)
    yield result


def through_a_port(machine: Machine) -> Iterator[Result]:
    """A gigabyte sent into a container through a published port, of the engines with a bridge."""
    yield from published.throughput([engine for engine in machine.engines if engine.host], 5)


def many_ports(machine: Machine) -> Iterator[Result]:
    """A container that publishes hundreds of ports comes and goes, of the engines with a bridge."""
    yield from published.many_ports([engine for engine in machine.engines if engine.host], 2)


ROWS: Mapping[str, Callable[[Machine], Iterator[Result]]] = {
    "run": run_and_remove,
    "bridge": run_bridged,
    "engine": engine_alone,
    "bundle": one_bundle,
    "cli": command_lines,
    "exec": execute,
    "many": many,
    "many-bridge": many_bridged,
    "load": load,
    "flood": flood,
    "published": through_a_port,
    "ports": many_ports,
}


def _runner(engine: Engine) -> Callable[[], object]:
    return _command(engine, "run", "--rm", *engine.no_network, IMAGE, "true")


def _command(engine: Engine, *arguments: str, discard: bool = False) -> Callable[[], object]:
    return lambda: engine.run(*arguments, discard=discard)


def _with_program(engine: Engine, program: str) -> Engine:
    return Engine(
        engine.name, [program], engine.environment, engine.processes, engine.no_network, engine.host
    )


def _over_api(engine: Engine) -> Contestant:
    connection = api.Connection(engine)
    created: list[str] = []
    return Contestant(
        act=lambda: connection.live(created.pop()), before=lambda: created.append(connection.create())
    )


def _start_all(engine: Engine, names: Sequence[str], network: Sequence[str]) -> Callable[[], object]:
    def start(name: str) -> None:
        engine.run("run", "-d", "--name", name, *network, IMAGE, "sleep", "600")

    def act() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(start, names))

    return act


def _loader(engine: Engine, archives: Sequence[Path]) -> Callable[[], object]:
    left = iter(archives)
    return lambda: engine.run("load", "-i", str(next(left)))


def _quietly(engine: Engine, *arguments: str) -> None:
    try:
        engine.run(*arguments)
    except Failed:
        return
