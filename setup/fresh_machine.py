"""A fresh Debian for the CI: a minbase root with python3, sudo and one ordinary user, entered like a machine.

The packages and wheels come from wherever this host has them configured; nothing here names a server. The
root is entered by pivot_root in mount, PID, IPC and UTS namespaces of its own, not by chroot(2): inside a
chroot the kernel refuses user namespaces and pivot_root itself, so half of what is to be proven would not
even start.

    python3 -m setup.fresh_machine make DIRECTORY
    python3 -m setup.fresh_machine run DIRECTORY USER COMMAND     (USER `root` or `newcomer`)
    python3 -m setup.fresh_machine remove DIRECTORY
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

from setup import places, remains
from setup.privilege import Refused

NAME = "fresh"
USER = "newcomer"
CHECKOUT = f"/home/{USER}/minidock"
CERTIFICATES = "/etc/ssl/host-certificates.crt"
INCLUDED = ("python3", "sudo")

ENTER = r"""
set -e
root=$1; name=$2; user=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
while read -r folder; do mount --rbind -o ro "$folder" "$root$folder"; done < "$root/etc/host-folders"
hostname "$name"
cd "$root"
mkdir -p old
pivot_root . old
umount -l old
rmdir old
cd /
exec su - "$user" -c "$*"
"""


def make(root: Path) -> None:
    """Build the root, with an ordinary sudo user who has a clone of this checkout's present files."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sources, options = Path(folder, "sources.list"), Path(folder, "apt.conf")
        sources.write_text("".join(f"{line}\n" for line in _sources()))
        options.write_text(_output(["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"]))
        options.write_text("\n".join(_plain_options(options.read_text())) + "\n")
        form = ["--mode=root", "--variant=minbase", f"--include={','.join(INCLUDED)}", f"--aptopt={options}"]
        command = [
            "mmdebstrap",
            "--quiet",
            *form,
            "--skip=cleanup/apt/lists",
            _codename(),
            str(root),
            str(sources),
        ]
        subprocess.run(command, check=True)
    for name in ("resolv.conf", "hosts"):
        shutil.copyfile(f"/etc/{name}", root / "etc" / name)
    with open(root / "etc/hosts", "a") as file:
        file.write(f"127.0.1.1 {NAME}\n")  # sudo looks its own host up
    bundle = _certificates()
    if bundle:
        (root / "etc/ssl").mkdir(exist_ok=True)
        shutil.copyfile(bundle, str(root) + CERTIFICATES)
    (root / "etc/pip.conf").write_text(_pip_file(bool(bundle)))
    for named in _pip_files():
        (root / named.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(named, root / named.lstrip("/"))
    folders = list(_local_folders())
    (root / "etc/host-folders").write_text("".join(f"{folder}\n" for folder in folders))
    for folder in folders:
        (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    inside = f"useradd -m -s /bin/sh {USER} && echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{USER}"
    subprocess.run(["chroot", str(root), "sh", "-c", inside], check=True)
    _copy_checkout(root)


def run(root: Path, user: str, command: str) -> int:
    """Run a shell command line in the root as `user` and return its exit code."""
    namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts"]
    return subprocess.run(
        ["unshare", *namespaces, "sh", "-c", ENTER, "enter", root, NAME, user, command], check=False
    ).returncode


def remove(root: Path) -> None:
    """Delete the root; everything mounted in it went away with its mount namespace."""
    remains.unmount_below(str(root))
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True)


def _sources() -> list[str]:
    """Return the distribution's own package sources of this host, one `deb` line each."""
    origin = _release("ID").capitalize()
    form = "$(ORIGIN)|deb $(SITE) $(RELEASE) $(COMPONENT)"
    rows = _output(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines()
    lines = [line for row in rows for found, line in [row.split("|", 1)] if found == origin]
    if not lines:
        raise Refused(f"This host has no package source of {origin}; is it `apt-get update`d?")
    return lines


def _plain_options(dump: str) -> Iterator[str]:
    """Yield apt's download settings of this host: proxies, certificates, date checks."""
    for line in dump.splitlines():
        name = line.split(" ", 1)[0]
        if name.startswith("Acquire::") and '""' not in line and not name.startswith("Acquire::IndexTargets"):
            yield line


def _pip_settings() -> Iterator[tuple[str, str]]:
    """Yield pip's settings of this host, from files and environment."""
    rows = _output([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    for row in rows:
        name, value = row.split("=", 1)
        yield name.rsplit(".", 1)[-1], value.strip("'\"")


def _pip_file(own_certificates: bool) -> str:
    settings = {name: value for name, value in _pip_settings() if name != "cert"}
    if own_certificates:
        settings["cert"] = CERTIFICATES
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def _pip_files() -> Iterator[str]:
    """Yield the files of this host that pip's settings name, such as constraints; certificates apart."""
    for name, value in _pip_settings():
        if name != "cert":
            yield from (word for word in value.split() if os.path.isabs(word) and os.path.isfile(word))


def _certificates() -> str | None:
    """Return this host's bundle of certificate authorities, which may hold one of its own."""
    named = [value for name, value in _pip_settings() if name == "cert"]
    candidates = [*named, os.environ.get("SSL_CERT_FILE", ""), "/etc/ssl/certs/ca-certificates.crt"]
    return next((path for path in candidates if os.path.isfile(path)), None)


def _local_folders() -> Iterator[str]:
    """Yield the folders of this host that pip's settings name."""
    found: dict[str, None] = {}
    for _, value in _pip_settings():
        for word in value.split():
            path = urllib.parse.urlsplit(word).path if word.startswith("file:") else word
            if path.startswith("/") and os.path.isdir(path):
                # An index may link to files beside it, as in ../../files/name.whl: take its parent along.
                found[os.path.dirname(path) if word.startswith("file:") else path] = None
    yield from found


def _copy_checkout(root: Path) -> None:
    """Give the user the files that git knows or would add, owned by the user."""
    target = Path(str(root) + CHECKOUT)
    shutil.rmtree(target, ignore_errors=True)
    names = _output(["git", "-C", str(places.CHECKOUT), "ls-files", "-co", "--exclude-standard", "-z"]).split(
        "\0"
    )
    for name in filter(None, names):
        source = places.CHECKOUT / name
        if os.path.lexists(source):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    subprocess.run(["chroot", str(root), "chown", "-R", f"{USER}:", CHECKOUT], check=True)


def _release(key: str) -> str:
    with open("/etc/os-release") as file:
        table = dict(row.rstrip("\n").split("=", 1) for row in file if "=" in row)
    return shlex.split(table[key])[0]


def _codename() -> str:
    return _release("VERSION_CODENAME")


def _output(command: Sequence[str]) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise Refused(f"`{' '.join(command)}` failed: {answer.stderr.strip()}")
    return answer.stdout


def main(arguments: Sequence[str]) -> int:
    """Run one verb of this module's docstring."""
    verb, root = arguments[0], Path(arguments[1]).resolve()
    with contextlib.suppress(BrokenPipeError):
        match verb:
            case "make":
                make(root)
            case "run":
                return run(root, arguments[2], arguments[3])
            case "copy":
                _copy_checkout(root)
            case "remove":
                remove(root)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
