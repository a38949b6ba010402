"""Where set-up puts things: nothing of it lies in the checkout, so that the checkout stays its user's own.

What root runs lies in a root-owned place: a daemon of root must not load code or libraries that an ordinary
account can change. What only the tests and the demo need lies in the cache of whoever runs them.
"""

import hashlib
import os
import pwd
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SYSTEM = Path("/opt/minidock")
ENVIRONMENT = SYSTEM / "venv"
RECORD = SYSTEM / "installed.json"
# /usr/local/bin is in sudo's secure_path on Debian and Ubuntu: `sudo minidock` finds the links there.
LINKS = Path("/usr/local/bin")
# The engine's defaults; set-up must be able to remove an engine whose code is already gone.
DATA_ROOT = Path("/var/lib/minidock")
EXEC_ROOT = Path("/run/minidock")
CGROUP_PARENT = "/minidock"


def cache() -> Path:
    """Return the cache of the account that runs us; under sudo that is root's, never the caller's."""
    account = pwd.getpwuid(os.geteuid())
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen) and "SUDO_UID" not in os.environ:
        return Path(chosen) / "minidock"
    return Path(account.pw_dir) / ".cache" / "minidock"


def test_environment(python: str) -> Path:
    """Return the place of the tests' environment: one for each checkout and interpreter."""
    key = hashlib.sha256(f"{CHECKOUT}\0{python}".encode()).hexdigest()[:10]
    return cache() / f"test-{key}"


def docker_client() -> Path:
    """Return where a docker client unpacked from Debian's package lies."""
    return cache() / "docker" / "docker"
