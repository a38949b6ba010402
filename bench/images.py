"""Images for the measurements, in the form of `docker save`, so that every engine loads the same bytes."""

import hashlib
import io
import json
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

from bench.engines import IMAGE

BIG = "bench/big"
BIG_ENTRIES = 8_700
BIG_SIZE = 170_000_000
APPLETS = ("sh", "true", "cat", "echo", "sleep", "dd", "ls", "ps", "date", "id", "hostname", "head", "yes")


def static_busybox() -> Path:
    """Return the machine's busybox. Raises FileNotFoundError when there is none."""
    for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")):
        if path.exists():
            return path
    raise FileNotFoundError("no busybox on this machine: ./demo --setup-only installs busybox-static")


def small(target: Path) -> None:
    """Write the image of one static busybox to `target`."""

    def fill(layer: tarfile.TarFile) -> None:
        for name in ("bin", "tmp", "etc"):
            _directory(layer, name)
        _file(layer, "bin/busybox", static_busybox().read_bytes(), 0o755)
        _file(layer, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
        for name in APPLETS:
            _link(layer, f"bin/{name}", "busybox")

    _save(target, IMAGE, fill)


def big(target: Path, which: int = 0) -> None:
    """Write an image like a distribution's: 170 MB in 8,700 files, directories and links, half of it text.

    Each `which` is another one, of the same size and form, and the tag of its name.
    """
    source = random.Random(2013 + which)
    words = b" ".join(source.randbytes(6).hex().encode() for _ in range(20_000))

    def fill(layer: tarfile.TarFile) -> None:
        folders = [f"usr/share/part{number // 20}/d{number}" for number in range(700)]
        for name in ("usr", "usr/share", *(f"usr/share/part{number}" for number in range(35)), *folders):
            _directory(layer, name)
        left, files = BIG_SIZE, BIG_ENTRIES - 737 - 500
        for number in range(files):
            mean = left // (files - number)
            size = min(left, int(source.expovariate(1.0) * mean)) if number < files - 1 else left
            left -= size
            _file(layer, f"{source.choice(folders)}/f{number}", _content(source, words, size), 0o644)
        for number in range(500):
            _link(layer, f"{source.choice(folders)}/l{number}", f"f{number}")

    _save(target, f"{BIG}:{which}", fill)


def _content(source: random.Random, words: bytes, size: int) -> bytes:
    if source.random() < 0.5:
        return source.randbytes(size)
    start = source.randrange(len(words))
    return (words[start:] + words * (size // len(words) + 1))[:size]


def _save(target: Path, reference: str, fill: Callable[[tarfile.TarFile], None]) -> None:
    layer = target.with_suffix(".layer")
    try:
        with tarfile.open(layer, "w", format=tarfile.GNU_FORMAT) as archive:
            fill(archive)
        with open(layer, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        config = json.dumps({
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }).encode()  # fmt: skip
        name = f"{hashlib.sha256(config).hexdigest()}.json"
        manifest = [{"Config": name, "RepoTags": [reference], "Layers": [f"{digest}/layer.tar"]}]
        with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
            archive.add(layer, f"{digest}/layer.tar")
            _file(archive, name, config, 0o644)
            _file(archive, "manifest.json", json.dumps(manifest).encode(), 0o644)
    finally:
        layer.unlink(missing_ok=True)


def _directory(archive: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(entry)


def _file(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _link(archive: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
    archive.addfile(entry)
