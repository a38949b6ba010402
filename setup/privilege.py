"""Root for the steps that need it, and only for those: the same program again, through sudo.

sudo clears the environment, so the few settings that a download needs (proxy, certificates, pip's own) are
handed over by name; sudoers(5), env_reset.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

from setup import places

PREFIXES = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "TERM", "COLUMNS", "LANG", "LC_ALL")
PROXIES = ("http_proxy", "https_proxy", "no_proxy")


class Refused(Exception):
    """Set-up cannot go on; the message is the one sentence that its user reads."""


def is_root() -> bool:
    return os.geteuid() == 0


def require(command: str, purpose: str) -> None:
    """Make sure that the steps to come can have root, before the first of them runs.

    Raises Refused when this account is neither root nor may use sudo.
    """
    if is_root():
        return
    sudo = shutil.which("sudo")
    asks = sys.stdin.isatty()
    if sudo is not None:
        quiet = None if asks else subprocess.DEVNULL
        if (
            subprocess.run([sudo, *([] if asks else ["-n"]), "true"], stderr=quiet, check=False).returncode
            == 0
        ):
            return
    reason = "sudo does not let this account do that" if sudo else "there is no sudo on this machine"
    raise Refused(
        f"{command} needs root {purpose}, and {reason}: run it as root or from an account that may use sudo."
    )


def as_root(command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the command line that runs `command` as root with our settings and `environment`."""
    extra = [f"{name}={value}" for name, value in (environment or {}).items()]
    if is_root():
        return ["env", *extra, *command]
    kept = [f"{name}={value}" for name, value in os.environ.items() if _is_handed_over(name)]
    own_pip_file = os.path.expanduser("~/.config/pip/pip.conf")
    if os.path.exists(own_pip_file) and "PIP_CONFIG_FILE" not in os.environ:
        kept.append(f"PIP_CONFIG_FILE={own_pip_file}")
    return ["sudo", *([] if sys.stdin.isatty() else ["-n"]), "env", *kept, *extra, *command]


def _is_handed_over(name: str) -> bool:
    return name.startswith(PREFIXES) or name.lower() in PROXIES


def run_step(*arguments: str) -> int:
    """Run one root step of this program and return its exit code."""
    command = [sys.executable, "-B", "-s", str(places.CHECKOUT / "setup"), "root", *arguments]
    return subprocess.run(as_root(command), check=False).returncode


def root_step(*arguments: str) -> None:
    """Run one root step of this program; it has already said what was wrong if it fails."""
    if code := run_step(*arguments):
        raise SystemExit(code)
