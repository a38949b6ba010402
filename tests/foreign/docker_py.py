"""docker-py's own integration tests against a daemon of ours: what passes, and why the rest fails.

    python tests/foreign/docker_py.py [pytest arguments]      (as root; `make test-docker-py`)

The suite comes with the source package docker==6.1.3 (later ones carry no tests) and is installed, with the
versions it was written for, into an environment of its own below the cache directory. Its `docker/` folder is
renamed, so that the installed package is what is tested. The images that it wants by name are made from the
host's static busybox. Every failure must be on docs/reference/docker-py.md with its reason: one that is not
makes the exit status 1. The websocket case runs over TCP, all that docker-py's can do.
"""

import argparse
import contextlib
import http.client
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

VERSION = "6.1.3"
PINS = (
    f"docker=={VERSION}",
    "requests==2.31.0",
    "urllib3==1.26.20",
    "websocket-client",
    "paramiko",
    "pytest==7.4.2",
    "pytest-timeout==2.1.0",
    "setuptools",
)
API_VERSION = "1.41"  # what the suite's own Makefile has it speak: it looks for the words of that time
IMAGES = ("alpine:3.10", "alpine:latest", "busybox:latest", "hello-world:latest")
# Swarm, its secrets and configs, plugins and the credential store are no part of minidock.
LEFT_OUT = ("config", "plugin", "secret", "service", "swarm")
LEFT_OUT_FILES = ("models_nodes_test.py", "models_services_test.py", "models_swarm_test.py", "credentials")
OVER_TCP = "socket_ws"
CHECKOUT = Path(__file__).resolve().parents[2]
DAEMON = "import sys; from minidock.api.daemon import main; sys.exit(main(sys.argv[1:]))"
CACHE = Path(os.environ.get("MINIDOCK_CACHE", "/var/cache/minidock")) / "docker-py"

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
)
GROUP = "root:x:0:\npostgres:x:70:\nnobody:x:65534:\naudio:x:29:\n"

PAGE = CHECKOUT / "docs" / "reference" / "docker-py.md"


@dataclass(frozen=True)
class Case:
    """One case of the suite: its outcome is passed, skipped or failed."""

    name: str
    outcome: str
    message: str = ""


def main() -> int:
    """Prepare, run, report; 1 when a case fails without a known reason."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", help="an engine that runs already (unix:///...), a dockerd for example")
    options, rest = parser.parse_known_args()  # the rest is pytest's: -k exec
    python, suite = prepare(CACHE)
    with contextlib.ExitStack() as stack:
        port = free_port()
        host = options.host or stack.enter_context(daemon(port))
        for name in IMAGES:
            import_image(host, name)
        cases = run(python, suite, host, rest)
        if not options.host:
            over_tcp = run(python, suite, f"tcp://127.0.0.1:{port}", ["-k", OVER_TCP])
            cases = [next((new for new in over_tcp if new.name == case.name), case) for case in cases]
    return report(cases, known_failures(PAGE.read_text(encoding="utf-8")))


def prepare(cache: Path) -> tuple[str, Path]:
    """Return the Python of the environment and the folder of the suite; made once."""
    python, suite = cache / "venv" / "bin" / "python", cache / f"docker-{VERSION}"
    if not (cache / "ready").exists():
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        venv.create(cache / "venv", with_pip=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", *PINS], check=True)
        download = [*pip, "download", "--no-deps", "--no-binary", ":all:", "-d", str(cache), PINS[0]]
        subprocess.run(download, check=True)
        with tarfile.open(cache / f"docker-{VERSION}.tar.gz") as archive:
            archive.extractall(cache)
        (suite / "docker").rename(suite / "docker-not-tested")
        (cache / "ready").touch()
    return str(python), suite


@contextlib.contextmanager
def daemon(port: int) -> Iterator[str]:
    """Run a daemon of ours with roots of its own; yield its host. Everything of it is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="minidock-docker-py-", dir="/var/tmp"))
    path = directory / "s.sock"
    roots = ["--data-root", str(directory / "data"), "--exec-root", str(directory / "run")]
    command = [sys.executable, "-c", DAEMON, "-H", f"unix://{path}", "-H", f"tcp://127.0.0.1:{port}", *roots]
    command += ["--cgroup-parent", f"/{directory.name}", "--bridge", "mdpy0"]
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not path.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the daemon did not start:\n{(directory / 'log').read_text()}")
            time.sleep(0.05)
        yield f"unix://{path}"
        for identifier in re.findall(
            r'"Id":"([0-9a-f]{64})"', ask(f"unix://{path}", "GET", "/containers/json?all=1")
        ):
            ask(f"unix://{path}", "DELETE", f"/containers/{identifier}?force=1&v=1")
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(directory)


def free_port() -> int:
    """Return a TCP port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def import_image(host: str, name: str) -> None:
    """Give the engine an image `name` that is a busybox."""
    repository, _, tag = name.partition(":")
    ask(
        host,
        "POST",
        f"/images/create?fromSrc=-&repo={repository}&tag={tag}&changes=CMD%20sh",
        root_file_system(),
    )


def ask(host: str, method: str, target: str, body: bytes | None = None) -> str:
    """Send one request and return the body of the answer."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(host.removeprefix("unix://"))
    with contextlib.closing(connection):
        connection.request(method, target, body)
        answer = connection.getresponse()
        text = answer.read().decode()
    if answer.status >= 400:
        raise SystemExit(f"{method} {target}: {answer.status} {text}")
    return text


def root_file_system() -> bytes:
    """Return a tar with busybox under all its names, the users that the suite wants, and /var/opt."""
    busybox = shutil.which("busybox", path="/bin:/usr/bin")
    if busybox is None:
        raise SystemExit("no static busybox on this machine")
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var", "var/opt"):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
            archive.addfile(entry)
        for path, data, mode in (
            ("bin/busybox", Path(busybox).read_bytes(), 0o755),
            ("etc/passwd", PASSWD.encode(), 0o644),
            ("etc/group", GROUP.encode(), 0o644),
        ):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
        for name in names:
            if name != "busybox":
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(entry)
    return buffer.getvalue()


def run(python: str, suite: Path, host: str, arguments: list[str]) -> list[Case]:
    """Run the suite and return its cases."""
    tests = suite / "tests" / "integration"
    files = [name.name for kind in LEFT_OUT for name in tests.glob(f"api_{kind}_test.py")]
    ignored = [f"--ignore={tests / name}" for name in (*files, *LEFT_OUT_FILES)]
    with tempfile.TemporaryDirectory() as home, tempfile.NamedTemporaryFile(suffix=".xml") as results:
        command = [python, "-m", "pytest", "-q", "--timeout=120", "-p", "no:cacheprovider", str(tests)]
        command += [*ignored, f"--junitxml={results.name}", *arguments]
        own = {"DOCKER_HOST": host, "HOME": home, "DOCKER_TEST_API_VERSION": API_VERSION}
        config = Path(home, ".docker", "config.json")  # the suite makes contexts beside it
        config.parent.mkdir()
        config.write_text("{}")
        subprocess.run(command, cwd=suite, env={**os.environ, **own}, check=False)
        return [parse(one) for one in ElementTree.parse(results.name).iter("testcase")]


def parse(one: ElementTree.Element) -> Case:
    """Return the case of one <testcase>."""
    name = f"{one.get('classname', '').rpartition('.integration.')[2]}.{one.get('name')}"
    for kind, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = one.find(kind)
        if found is not None:
            return Case(name, outcome, (found.get("message") or "").strip())
    return Case(name, "passed")


def known_failures(page: str) -> dict[str, str]:
    """Return {case: reason} of the page's table."""
    return dict(re.findall(r"(?m)^\| `([^`]+)` \| (.+?) \|$", page))


def report(cases: list[Case], known: dict[str, str]) -> int:
    """Print the counts, each failure with its reason, and what the page lists for no reason any more."""
    counts = {kind: sum(case.outcome == kind for case in cases) for kind in ("passed", "failed", "skipped")}
    print(", ".join(f"{number} {kind}" for kind, number in counts.items()))
    failed = [case for case in cases if case.outcome == "failed"]
    for case in sorted(failed, key=lambda one: known.get(one.name, "")):
        print(f"{known.get(case.name, 'NO REASON')}: {case.name}")
    unexplained = [case for case in failed if case.name not in known]
    for case in unexplained:
        print(f"\n{case.name}\n    {case.message[:500]}")
    for name in sorted(known.keys() & {case.name for case in cases if case.outcome == "passed"}):
        print(f"passes, and is still listed in {PAGE.name}: {name}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
