"""`make bench`: measure minidock and its installed peers side by side, as root, and print a table and JSON.

python -m bench.run [--turns N] [--only run,many] [--json FILE] [--minidock PATH] [--docker PATH]
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import engines, images, report, rows, runtimes
from bench.dockerd import StartFailed
from bench.engines import Engine, Failed
from bench.measure import Result
from setup import client
from setup.privilege import Refused


def main(arguments: Sequence[str]) -> int:
    """Measure the rows that were asked for and print them."""
    options = _parse(arguments)
    docker = options.docker or client.find()
    if os.geteuid() != 0 or docker is None or not os.path.exists(options.minidock):
        print(
            "bench needs root, a docker client and an installed minidock: use `make bench`.", file=sys.stderr
        )
        return 1
    directory = Path(tempfile.mkdtemp(prefix="minidock-bench-", dir="/var/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        try:
            machine = _prepare(stack, directory, docker, options)
        except (Refused, Failed, StartFailed, FileNotFoundError) as error:
            print(error, file=sys.stderr)
            return 1
        results: list[Result] = []
        for name in options.only or rows.ROWS:
            print(f"measuring: {name} ...", file=sys.stderr, flush=True)
            results += rows.ROWS[name](machine)
    found = [name for result in results for name in (*result.samples, *result.skipped) if name != "minidock"]
    print(report.table(results, list(dict.fromkeys(found))))
    Path(options.json).write_text(report.document(results, _facts(docker)))
    print(f"The same as JSON: {options.json}")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description="Measure minidock beside its installed peers."
    )
    parser.add_argument("--turns", type=int, default=10, help="turns of the quick rows (default 10)")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), metavar="ROW,...", help=", ".join(rows.ROWS)
    )
    parser.add_argument("--json", default="/var/tmp/minidock-bench.json", metavar="FILE")
    parser.add_argument("--minidock", default="/opt/minidock/bin/minidock", metavar="PATH")
    parser.add_argument("--docker", metavar="PATH", help="the docker command line that drives both engines")
    options = parser.parse_args(arguments)
    for name in options.only or ():
        if name not in rows.ROWS:
            parser.error(f"no row {name}; there are: {', '.join(rows.ROWS)}")
    return options


def _prepare(stack: ExitStack, directory: Path, docker: str, options: argparse.Namespace) -> rows.Machine:
    """Start the contestants and load the image into each; a peer that cannot is named and left out."""
    small, big = directory / "small.tar", [directory / f"big-{number}.tar" for number in range(rows.LOADS)]
    images.small(small)
    if not options.only or "load" in options.only:
        for number, path in enumerate(big):
            images.big(path, number)
    playing: list[Engine] = [engines.minidock(stack, options.minidock, docker)]
    peers: dict[str, Callable[[], Engine]] = {
        "dockerd": lambda: engines.dockerd(stack, directory, docker),
        "podman": lambda: engines.podman(stack, directory),
    }
    for name, make in peers.items():
        try:
            playing.append(make())
        except (Failed, StartFailed) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    for engine in list(playing):
        try:
            engine.run("load", "-i", str(small))
        except Failed as error:
            if engine.name == "minidock":
                raise
            print(f"{engine.name} is left out: {error}", file=sys.stderr)
            playing.remove(engine)
    bundle = runtimes.bundle(directory / "bundle")
    return rows.Machine(playing, big, bundle, options.minidock, options.turns)


def _facts(docker: str) -> dict[str, str | int | None]:
    return {
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "docker_client": docker,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
