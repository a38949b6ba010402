"""Debian packages: which are missing, how they are installed, and which of them may be removed again.

Nothing of the user's is ever removed to make room (`--no-remove`), no recommended extras come along, and
while packages that bring services are installed, service starts are denied by policy-rc.d (Debian policy
9.3.3, invoke-rc.d(8)).
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from setup import record
from setup.privilege import Refused

NEEDED = ("libnftables1", "libseccomp2", "busybox-static")
# Each judge by the program that must be on PATH; one that is there already, from wherever, is not installed
# again.
ORACLES = {
    "dockerd": "docker.io",
    "podman": "podman",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "runc": "runc",
    "crun": "crun",
    "docker-registry": "docker-registry",
    "docker-compose": "docker-compose",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
}
ROOT_BUILDER = {"mmdebstrap": "mmdebstrap"}  # what --fresh-machine makes its root with
POLICY = Path("/usr/sbin/policy-rc.d")
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
SEARCH = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def installed() -> set[str]:
    """Return the names of the packages that dpkg has fully installed."""
    if shutil.which("dpkg-query") is None:
        raise Refused("minidock's set-up knows Debian and Ubuntu only, and this machine has no dpkg.")
    rows = _output(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"])
    return {name for state, name in (row.split(" ", 1) for row in rows.splitlines()) if state == "installed"}


def missing() -> list[str]:
    """Return what minidock needs and this machine lacks."""
    present = installed()
    # Debian's dynamic `busybox` excludes busybox-static; the hostbox image is then made of the shell
    # and coreutils.
    return [
        name
        for name in NEEDED
        if name not in present and not (name == "busybox-static" and "busybox" in present)
    ]


def missing_of(programs: Mapping[str, str]) -> list[str]:
    """Return the packages, given by the program of each, that this machine lacks."""
    return [package for program, package in programs.items() if shutil.which(program, path=SEARCH) is None]


def candidate(name: str) -> bool:
    """Tell whether the package lists know a version of `name` that could be installed."""
    rows = _output(["apt-cache", "policy", name]).splitlines()
    return any(row.strip().startswith("Candidate:") and "(none)" not in row for row in rows)


def update() -> None:
    """Fetch the package lists (needs root)."""
    _apt("update")


def install(names: Sequence[str]) -> None:
    """Install `names` and record every package that was not there before (needs root)."""
    before = installed()
    if not all(candidate(name) for name in names):
        update()
    command = ["install", "-y", "--no-install-recommends", "--no-remove", *names]
    planned = _planned("Inst", *command)  # what else appears meanwhile is somebody else's
    with _services_denied():
        try:
            _apt(*command)
        except Refused:
            update()  # lists that are days old name versions which the archive no longer has
            planned = _planned("Inst", *command)
            _apt(*command)
        finally:
            added = (installed() - before) & planned
            known = record.read()
            known.packages = sorted({*known.packages, *added})
            record.write(known)
    _disable_units(sorted(added))


def removable(recorded: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the recorded packages into those to remove and those that other software needs by now."""
    ours = set(recorded) & installed()
    if _would_remove(ours) == ours:
        return sorted(ours), []
    # Apt names what would go, not why: each is asked for by itself, which takes a second for each.
    kept = []
    for name in sorted(ours):
        removed = _would_remove({name})
        if name not in removed or not removed <= ours:  # apt refuses what the system cannot be without
            kept.append(name)
    return sorted(ours - set(kept)), kept


def _would_remove(names: Iterable[str]) -> set[str]:
    return _planned("Remv", "remove", *sorted(names))


def _planned(word: str, *arguments: str) -> set[str]:
    """Ask apt what a command would do; `word` is how a line of its simulation begins."""
    plan = _output(["apt-get", "-s", "-q", "-y", *arguments])
    return {row.split()[1] for row in plan.splitlines() if row.startswith(f"{word} ")}


def remove(names: Sequence[str]) -> None:
    """Remove `names` with their configuration (needs root)."""
    if names:
        with _services_denied():
            _apt("purge", "-y", *names)


@contextlib.contextmanager
def _services_denied() -> Iterator[None]:
    aside = POLICY.with_name("policy-rc.d.before-minidock")
    if POLICY.exists():
        os.rename(POLICY, aside)
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
        if aside.exists():
            os.rename(aside, POLICY)


def _disable_units(names: Sequence[str]) -> None:
    """Keep the services of added packages from starting at the next boot, which policy-rc.d does not."""
    if not names or shutil.which("systemctl") is None:
        return
    files = _output(["dpkg-query", "-L", *names]).splitlines()
    folders = ("/lib/systemd/system", "/usr/lib/systemd/system")
    units = [os.path.basename(path) for path in files if os.path.dirname(path) in folders]
    units = [unit for unit in units if unit.endswith((".service", ".socket", ".timer")) and "@" not in unit]
    if units:
        subprocess.run(["systemctl", "disable", *units], capture_output=True, check=False)


def _apt(*arguments: str) -> None:
    command = ["apt-get", "-q", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300", *arguments]
    answer = subprocess.run(
        command,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if answer.returncode:
        tail = "\n".join(answer.stdout.strip().splitlines()[-12:])
        raise Refused(f"`apt-get {' '.join(arguments)}` failed; its last lines were:\n{tail}")


def _output(command: Sequence[str]) -> str:
    answer = subprocess.run(
        command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
    )
    return answer.stdout
