"""An engine of the test's own, and words to make containers with it."""

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from minidock.engine import creation, lifecycle, waiting
from minidock.engine.engine import Configuration, Engine
from minidock.engine.logs import Selection, open_log
from minidock.engine.model import ContainerConfig, HostConfig, NetworkingConfig
from minidock.engine.views import WaitResult
from minidock.paths import Paths

IMAGE = "hostbox"
PATIENCE = 30.0 * float(os.environ.get("MINIDOCK_TIME_SCALE", "1"))  # an emulated machine is slower


class Bench:
    """One engine that can be closed and opened again on the same directories."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.cgroup_parent = f"/minidock-engine-test-{uuid.uuid4().hex[:12]}"
        self.configuration = Configuration(
            Paths(os.path.join(directory, "data"), os.path.join(directory, "exec")),
            cgroup_parent=self.cgroup_parent,
            own_cgroup=False,
        )
        self.engine = Engine.open(self.configuration)

    def reopen(self) -> Engine:
        """Close the engine and open another on the same directories, as after a restart of the daemon."""
        self.engine.close()
        self.engine = Engine.open(self.configuration)
        return self.engine

    def create(self, *command: str, image: str = IMAGE, name: str = "", **members: Any) -> str:
        """Create a container and return its id; members go to Config or HostConfig, wherever they belong."""
        in_config = {key: value for key, value in members.items() if key in ContainerConfig.__struct_fields__}
        in_host = {key: value for key, value in members.items() if key not in in_config}
        config = ContainerConfig(image=image, cmd=list(command) or None, **in_config)
        return creation.create(self.engine, config, HostConfig(**in_host), NetworkingConfig(), name).id

    def start(self, *command: str, **members: Any) -> str:
        """Create and start a container."""
        identifier = self.create(*command, **members)
        lifecycle.start(self.engine, identifier)
        return identifier

    def wait(self, identifier: str, condition: str = "") -> WaitResult:
        """Wait for the container."""
        with waiting.wait(self.engine, identifier, condition) as waiter:
            assert waiter.wait(PATIENCE), "the container did not end"
            return waiter.result()

    def run(self, *command: str, **members: Any) -> tuple[int, str]:
        """Run a container to its end; return its exit code and what it wrote."""
        identifier = self.start(*command, **members)
        code = self.wait(identifier).status_code
        return code, self.output(identifier)

    def output(self, identifier: str) -> str:
        """Return what the container wrote to both streams."""
        with open_log(self.engine, identifier, Selection()) as log:
            return "".join(record.text for record in log.read())

    def close(self) -> None:
        """Remove every container, close the engine, remove its directories and cgroups."""
        for identifier in list(self.engine.containers):
            with contextlib.suppress(Exception):
                lifecycle.remove(self.engine, identifier, force=True)
        shims = os.path.dirname(self.engine.paths.shim_directory("x"))
        deadline = time.monotonic() + PATIENCE
        while os.listdir(shims):  # a shim tells of the end first and takes its cgroup away after that
            assert time.monotonic() < deadline, f"shims are left: {os.listdir(shims)}"
            time.sleep(0.01)
        hierarchy = self.engine.host.cgroups
        self.engine.close()
        parent = hierarchy.at(self.cgroup_parent)
        if parent.exists():
            parent.delete()
        shutil.rmtree(self.directory)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench(tempfile.mkdtemp(prefix="minidock-engine-"))
    yield bench
    bench.close()


@pytest.fixture
def fresh_bench() -> Iterator[Bench]:
    """A bench whose engine the test may close, kill or damage."""
    bench = Bench(tempfile.mkdtemp(prefix="minidock-engine-"))
    yield bench
    bench.close()
