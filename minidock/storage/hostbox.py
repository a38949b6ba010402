"""The built-in image `hostbox`: made from the host itself, for a machine with neither images nor a network.

An image is only files: a static busybox and its applets' names make a system one can log into. Where the
host has no static busybox, its shell and core utilities go in, with the shared libraries that their dynamic
loader names. The same host files give the same image ID: the only time in it is that of the program.
"""

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from minidock.errors import NotFound, Unavailable
from minidock.formats.image import ExecutionConfig
from minidock.formats.tarheader import BLOCK, DIRECTORY, SYMLINK, Entry, encode_entry, padding
from minidock.storage.images import Image, ImageStore
from minidock.storage.load import Origin, make_image

REFERENCE = "hostbox:latest"
BUSYBOX_PATHS = ("/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PT_INTERP = 3
PROGRAM_TIMEOUT = 10

DIRECTORIES = (
    *(
        (path, 0o755)
        for path in ("bin", "dev", "etc", "home", "lib", "mnt", "opt", "proc", "run", "sbin", "srv", "sys")
    ),
    ("root", 0o700),
    ("tmp", 0o1777),
    *((path, 0o755) for path in ("usr", "usr/bin", "usr/lib", "usr/sbin", "var", "var/log", "var/spool")),
    ("var/tmp", 0o1777),
)
LINKS = (("var/run", "/run"),)
FILES = (
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/:/bin/false\n"
        "nobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nusers:x:100:\nnogroup:x:65534:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("etc/profile", f"export PATH={PATH}\n"),
)
UTILITIES = """
bash cat chmod chown cp cut date dd df du echo env expr false find grep head hostname id kill ln ls mkdir
mknod mount mv nproc ps pwd readlink rm rmdir sed seq sh sleep sort stat tail tee test timeout touch tr true
tty umount uname wc whoami xargs yes
"""


def ensure(store: ImageStore, busybox: Iterable[str] = BUSYBOX_PATHS) -> Image:
    """Return `hostbox:latest`, made on first use; `busybox` is where a static one is looked for.

    Raises Unavailable if the host has neither a static busybox nor a shell.
    """
    try:
        return store.resolve(REFERENCE)
    except NotFound:
        return build(store, busybox)


def build(store: ImageStore, busybox: Iterable[str] = BUSYBOX_PATHS) -> Image:
    """Make the image anew and name it `hostbox:latest`."""
    program = next((path for path in busybox if is_static(path)), None)
    entries = _busybox_files(program) if program else _utility_files()
    shell = program or shutil.which("sh") or "/bin/sh"
    mtime = int(os.stat(shell).st_mtime)
    created = datetime.fromtimestamp(mtime, UTC).isoformat().replace("+00:00", "Z")
    origin = Origin(created, f"files of the host: {os.path.basename(shell)}", "minidock's built-in image")
    config = ExecutionConfig(env=[f"PATH={PATH}"], cmd=["sh"])
    return make_image(store, _Tar(_entries(entries, mtime)), REFERENCE, origin, config)


def is_static(path: str) -> bool:
    """Tell whether `path` is a 64-bit ELF program that needs no dynamic loader. elf(5)."""
    try:
        with open(path, "rb") as file:
            header = file.read(64)
            if len(header) < 64 or header[:5] != b"\x7fELF\x02":
                return False
            offset, size, count = (
                struct.unpack_from("<Q", header, 32)[0],
                *struct.unpack_from("<HH", header, 54),
            )
            file.seek(offset)
            table = file.read(size * count)
    except OSError:
        return False
    return all(struct.unpack_from("<I", table, at)[0] != PT_INTERP for at in range(0, len(table), size))


def _busybox_files(program: str) -> dict[str, str | bytes]:
    """Return the files of a busybox system by path: bytes are content, text is the target of a symbolic
    link."""
    files: dict[str, str | bytes] = {"bin/busybox": _read(program)}
    listing = _output([program, "--list-full"]) or "\n".join(
        f"bin/{name}" for name in _output([program, "--list"]).split()
    )
    for path in listing.split():
        name = path.rpartition("/")[2]
        directory = path.rpartition("/")[0].strip("/")
        if name != "busybox" and (directory, 0o755) in DIRECTORIES:
            files[f"{directory}/{name}"] = "/bin/busybox"
    files.setdefault("bin/sh", "/bin/busybox")
    return files


def _utility_files() -> dict[str, str | bytes]:
    """Return the host's shell and core utilities with the libraries and the loader they need, at their
    own paths."""
    files: dict[str, str | bytes] = {}
    for name in UTILITIES.split():
        path = shutil.which(name, path=os.defpath + ":" + PATH)
        if path is None:
            continue
        files[f"bin/{name}"] = _read(path)
        for library in re.findall(r"(/\S+) \(0x", _output(["ldd", path])):
            files[library.lstrip("/")] = _read(library)
    if "bin/sh" not in files:
        raise Unavailable(
            "cannot make the built-in image hostbox: this host has neither a static busybox nor a shell"
        )
    return files


def _entries(files: dict[str, str | bytes], mtime: int) -> Iterator[bytes]:
    """Yield the tar of a root file system, in a fixed order."""
    time_ns = mtime * 10**9
    directories = dict(DIRECTORIES)
    for path in files:
        while path := path.rpartition("/")[0]:
            directories.setdefault(path, 0o755)
    for path, mode in sorted(directories.items()):
        yield encode_entry(Entry(f"{path}/", DIRECTORY, mode, mtime_ns=time_ns))
    texts = {path: text.encode() for path, text in FILES}
    for path, content in sorted({**files, **dict(LINKS), **texts}.items()):
        if isinstance(content, str):
            yield encode_entry(Entry(path, SYMLINK, 0o777, link=content, mtime_ns=time_ns))
        else:
            mode = 0o644 if path.startswith("etc/") else 0o755
            yield encode_entry(Entry(path, mode=mode, size=len(content), mtime_ns=time_ns))
            yield content + bytes(padding(len(content)))
    yield bytes(2 * BLOCK)


class _Tar:
    """Pieces of bytes as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        while not self._rest and (piece := next(self._pieces, None)) is not None:
            self._rest = piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _output(command: list[str]) -> str:
    """Run one of the host's own programs; "" if it fails."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=PROGRAM_TIMEOUT,
            stdin=subprocess.DEVNULL,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
