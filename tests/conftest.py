"""Options and fixtures of the whole suite: how often to repeat, and which judges may be asked.

Everything that a test needs from the machine is asked for here in one place, so that a machine which lacks it
is told how many cases it did not run instead of showing a green suite that proved less.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from setup.stage import Stage

TIME_SCALE = float(os.environ.get("MINIDOCK_TIME_SCALE", "1"))  # an emulated machine is slower
NOT_RUN = pytest.StashKey[dict[str, int]]()
# The marker of a case, and the option without which it does not run.
ON_REQUEST = {"oracle": "--oracles", "fresh_machine": "--fresh-machine", "vm": "--vm"}
DEFAULT_ROUNDS = 10
# Seconds for one stress test, a hundred times as long with --soak; other tests: pyproject.toml.
STRESS_TIMEOUT = 600
# A property is asked for more examples as a stress test is repeated, up to what hypothesis itself asks for.
EXAMPLES_A_ROUND, MOST_EXAMPLES = 10, 100


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("minidock")
    group.addoption(
        "--rounds",
        type=int,
        default=DEFAULT_ROUNDS,
        metavar="N",
        help="repeat every stress test at most N times; a property gets 10 N examples, at most 100",
    )
    group.addoption(
        "--soak", action="store_true", help="repeat every stress test as often as its issue demands"
    )
    group.addoption(
        "--no-skips", action="store_true", help="a skipped case fails: nothing may be lacking here"
    )
    group.addoption(
        "--fresh-machine", action="store_true", help="prove ./demo and ./test on a new minbase root"
    )
    group.addoption("--vm", action="store_true", help="prove what only a whole virtual machine can show")
    group.addoption(
        "--inside",
        action="append",
        default=[],
        metavar="PATH",
        help="of the tests that run inside the virtual machine, only these",
    )
    group.addoption(
        "--oracles", action="store_true", help="run the cases that ask dockerd, podman, runc and other judges"
    )


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "oracle(*programs): asks these independent programs; runs only with --oracles",
        "fresh_machine: builds a minbase root and proves set-up in it; runs only with --fresh-machine",
        "vm: needs the virtual machine of ./test --vm; runs only with --vm",
        "only_minidock: asserts what Docker does otherwise; does not run against another engine",
        "soak(number): how often this stress test repeats in full; less without --soak",
    ):
        config.addinivalue_line("markers", line)
    config.stash[NOT_RUN] = {}
    examples = min(MOST_EXAMPLES, EXAMPLES_A_ROUND * max(1, config.getoption("--rounds")))
    # A busy machine is slow, and time is no test's verdict; a directory may serve all examples of a test.
    allowed = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture]
    hypothesis.settings.register_profile(
        "rounds", max_examples=examples, deadline=None, suppress_health_check=allowed
    )
    hypothesis.settings.load_profile("rounds")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases that need an option which was not given, and count them, and those that another
    engine is not asked; stretch others' limits.
    """
    if os.environ.get("MINIDOCK_TEST_HOST"):
        ours = [item for item in items if item.get_closest_marker("only_minidock")]
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if not item.get_closest_marker("only_minidock")]
    for marker, option in ON_REQUEST.items():
        left_out = [item for item in items if item.get_closest_marker(marker)]
        if left_out and not config.getoption(option):
            config.stash[NOT_RUN][option] = len(left_out)
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker(marker)]
    limit = STRESS_TIMEOUT * (100 if config.getoption("--soak") else 1)
    for item in items:
        own = item.get_closest_marker("timeout")
        if own is not None:
            item.add_marker(pytest.mark.timeout(own.args[0] * TIME_SCALE), append=False)
        elif "rounds" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(limit * TIME_SCALE))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """With --oracles a missing judge is an error: a skipped comparison would look like an agreement."""
    marker = item.get_closest_marker("oracle")
    missing = [program for program in (marker.args if marker else ()) if _find(program) is None]
    if missing:
        pytest.fail(f"--oracles needs {', '.join(missing)}: ./test --oracles installs them", pytrace=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With --no-skips a case that finds something lacking fails: such a machine proves less than it says."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and item.config.getoption("--no-skips"):
        report.outcome, report.longrepr = "failed", f"skipped, with --no-skips: {report.longrepr[2]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for option, count in config.stash[NOT_RUN].items():
        terminalreporter.write_line(f"{count} cases were not run: ./test {option} runs them.")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take the counts of left-out cases from an xdist worker; all workers collect the same cases."""
    output = getattr(node, "workeroutput", {})
    config: pytest.Config = node.config  # type: ignore[attr-defined]
    config.stash[NOT_RUN].update(output.get("minidock_not_run", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["minidock_not_run"] = session.config.stash[NOT_RUN]


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """Return how often this stress test repeats: `--rounds`, at most its `soak(number)` marker's number."""
    marker = request.node.get_closest_marker("soak")
    full: int | None = marker.args[0] if marker else None
    if request.config.getoption("--soak") and full is not None:
        return full
    asked: int = request.config.getoption("--rounds")
    return asked if full is None else min(asked, full)


def every_docker_client() -> list[str]:
    """Return every docker command line on PATH, where ./test has put the one that it unpacked, if it did."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    candidates = [os.path.join(folder, "docker") for folder in folders]
    found: dict[str, str] = {}
    for path in candidates:
        if os.access(path, os.X_OK) and os.path.isfile(path) and _is_docker(path):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


@pytest.fixture(scope="session")
def docker_clients() -> list[str]:
    """Every docker command line of this machine."""
    return every_docker_client()


@pytest.fixture
def stage(docker_clients: list[str]) -> Iterator[Stage]:
    """Start an engine for the console blocks of one page."""
    from tests.pages import stage_for_pages

    assert docker_clients, "./test unpacks a docker client"
    with stage_for_pages(docker_clients[0]) as engine:
        yield engine


@pytest.fixture(scope="session")
def checkout() -> Path:
    """Return the top directory of the repository under test."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the DOCKER_HOST of a private dockerd in its own namespaces (oracle cases only)."""
    from bench.dockerd import PrivateDockerd

    with PrivateDockerd(tmp_path_factory.mktemp("dockerd", numbered=True)) as engine:
        yield engine.host


def _find(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin")


def _is_docker(path: str) -> bool:
    """Tell Docker's own client from podman's imitation of it."""
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return answer.stdout.startswith("Docker version")
