"""The image graph of the page this project began with (May 2014), as an archive that `docker save` could have
written then.

Its IDs, tags and sizes are the page's; of each file system only the size is kept, as one sparse file, so that
the archive of 3 GB takes 300 KB. `GRAPH` is in the order of the drawing, children of one parent newest first.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BLOCK = 512
KNOWN = {
    "74fe38d11401": "74fe38d114018aac73c5997b95263090048ec9a1f58f33a1b53f55e92156d53b",
    "5e019ab7bf6d": "5e019ab7bf6deb75b211411ef7257d1e76bf7edee31d9da62a392df98d0529d6",
    "99ec81b80c55": "99ec81b80c55d906afd8179560fdab0ee93e32c52053816ca1d531597c1ff48f",
    "316b678ddf48": "316b678ddf487a37012630ae3219c8bb78c1f4b58d31c9513c3ea6b88f9e5635",
    "3db9c44f4520": "3db9c44f45209632d6050b35958829c3a2aa256d81b9a7be45b362ff85c54710",
    "fe65a2781dae": "fe65a2781daea01c67c33f11868abe6d510833bca07b90fc681cdfe98a9196ac",
    "276cc641e40e": "276cc641e40e01a18f6bee9e81a576adb7090d3fbae098f809857e0696ccbc87",
    "a7cf8ae4e998": "a7cf8ae4e998c5339e769d6cc466f9133bd4d330a549bb846cb1641cd638247c",
    "cf8dc907452c": "cf8dc907452c970224551599da573c9e32897fc65286d942625c4c86dabd680d",
    "07302703becc": "07302703beccc2ea25f34333decad32ed06446e8a14c020ffbd0be017364b9fe",
    "ef519c9ee91a": "ef519c9ee91a06fc33cefbda1bce27686617761700252dff0397f2c0e269f3c5",
    "5e1829f90d6e": "5e1829f90d6e9ac09645841fe6ab85a0b0f9b28f008a571299a624e566684afe",
    "ae5ae236a8e1": "ae5ae236a8e1d946963a7c2c142cc892b1979cb9458e0ecac4d33d2283ace567",
    "89554a25c998": "89554a25c998d14c76ff885ddac7cc1a47ae4caf9edcddaa43408b402a1684fb",
}


@dataclass(frozen=True)
class OldImage:
    """One image: the first 12 digits of its ID and its parent's, its whole size in kB, its names."""

    short: str
    parent: str
    total_kb: int
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The 64 digits: the page's where it shows them, else made up behind the 12 it shows."""
        return full(self.short)


def full(short: str) -> str:
    """Return the whole ID that begins with these 12 digits."""
    return KNOWN.get(short, short + hashlib.sha256(short.encode()).hexdigest()[12:]) if short else ""


GRAPH = (
    OldImage("511136ea3c5a", "", 0),
    OldImage("e2aa6665d371", "511136ea3c5a", 106_100),
    OldImage("f0ee64c4df74", "e2aa6665d371", 106_300),
    OldImage("2209cbf9dcd3", "f0ee64c4df74", 106_300),
    OldImage("5e019ab7bf6d", "2209cbf9dcd3", 180_000, ("ubuntu:13.10", "ubuntu:saucy")),
    OldImage("f10ebce2c0e1", "511136ea3c5a", 103_700),
    OldImage("82cdea7ab5b5", "f10ebce2c0e1", 103_900),
    OldImage("5dbd9cb5a02f", "82cdea7ab5b5", 103_900),
    OldImage("74fe38d11401", "5dbd9cb5a02f", 209_600, ("ubuntu:12.04", "ubuntu:precise")),
    OldImage("fe65a2781dae", "74fe38d11401", 209_600, ("ubuntu:test",)),
    OldImage("276cc641e40e", "fe65a2781dae", 388_300, ("ubuntu:newtest",)),
    OldImage("ef519c9ee91a", "511136ea3c5a", 100_900),
    OldImage("07302703becc", "ef519c9ee91a", 101_200),
    OldImage("cf8dc907452c", "07302703becc", 101_200),
    OldImage("a7cf8ae4e998", "cf8dc907452c", 171_300, ("ubuntu:12.10", "ubuntu:quantal")),
    OldImage("5e66087f3ffe", "511136ea3c5a", 192_500),
    OldImage("4d26dd3ebc1c", "5e66087f3ffe", 192_700),
    OldImage("d4010efcfd86", "4d26dd3ebc1c", 192_700),
    OldImage("99ec81b80c55", "d4010efcfd86", 266_000, ("ubuntu:14.04", "ubuntu:latest", "ubuntu:trusty")),
    OldImage("02dae1c13f51", "511136ea3c5a", 98_350),
    OldImage("e7206bfc66aa", "02dae1c13f51", 98_540),
    OldImage("cb12405ee8fa", "e7206bfc66aa", 98_540),
    OldImage("316b678ddf48", "cb12405ee8fa", 169_400, ("ubuntu:13.04", "ubuntu:raring")),
    OldImage("6cfa4d1f33fb", "511136ea3c5a", 0),
    OldImage("3db9c44f4520", "6cfa4d1f33fb", 183_000, ("ubuntu:10.04", "ubuntu:lucid")),
)

# What the page removes with one `rmi` of five ids: three are in use by a container, two go.
FIVE = ("666c5d65f396", "3494872e31a4", "62fda5e450d5", "5e1829f90d6e", "89554a25c998")
SCRATCHED = (
    OldImage("666c5d65f396", "74fe38d11401", 209_700),
    OldImage("3494872e31a4", "74fe38d11401", 209_800),
    OldImage("62fda5e450d5", "74fe38d11401", 209_900),
    OldImage("ae5ae236a8e1", "74fe38d11401", 210_000),
    OldImage("5e1829f90d6e", "ae5ae236a8e1", 210_100, ("test:latest",)),
    OldImage("89554a25c998", "74fe38d11401", 210_200, ("memchaced:latest",)),
)

TREE = """\
└─511136ea3c5a Virtual Size: 0 B
  ├─e2aa6665d371 Virtual Size: 106.1 MB
  │ └─f0ee64c4df74 Virtual Size: 106.3 MB
  │   └─2209cbf9dcd3 Virtual Size: 106.3 MB
  │     └─5e019ab7bf6d Virtual Size: 180 MB Tags: ubuntu:13.10, ubuntu:saucy
  ├─f10ebce2c0e1 Virtual Size: 103.7 MB
  │ └─82cdea7ab5b5 Virtual Size: 103.9 MB
  │   └─5dbd9cb5a02f Virtual Size: 103.9 MB
  │     └─74fe38d11401 Virtual Size: 209.6 MB Tags: ubuntu:12.04, ubuntu:precise
  │       └─fe65a2781dae Virtual Size: 209.6 MB Tags: ubuntu:test
  │         └─276cc641e40e Virtual Size: 388.3 MB Tags: ubuntu:newtest
  ├─ef519c9ee91a Virtual Size: 100.9 MB
  │ └─07302703becc Virtual Size: 101.2 MB
  │   └─cf8dc907452c Virtual Size: 101.2 MB
  │     └─a7cf8ae4e998 Virtual Size: 171.3 MB Tags: ubuntu:12.10, ubuntu:quantal
  ├─5e66087f3ffe Virtual Size: 192.5 MB
  │ └─4d26dd3ebc1c Virtual Size: 192.7 MB
  │   └─d4010efcfd86 Virtual Size: 192.7 MB
  │     └─99ec81b80c55 Virtual Size: 266 MB Tags: ubuntu:14.04, ubuntu:latest, ubuntu:trusty
  ├─02dae1c13f51 Virtual Size: 98.35 MB
  │ └─e7206bfc66aa Virtual Size: 98.54 MB
  │   └─cb12405ee8fa Virtual Size: 98.54 MB
  │     └─316b678ddf48 Virtual Size: 169.4 MB Tags: ubuntu:13.04, ubuntu:raring
  └─6cfa4d1f33fb Virtual Size: 0 B
    └─3db9c44f4520 Virtual Size: 183 MB Tags: ubuntu:10.04, ubuntu:lucid
"""
"""The page's drawing. Of one image the tags are sorted (Docker's order was that of a Go map), and the TAB
that the page has in its last line is blanks."""


def archive(images: Iterable[OldImage] = GRAPH, program: bytes = b"") -> bytes:
    """Return the archive; `program` stands as /bin/sh in the first image, so that containers can run."""
    sink = io.BytesIO()
    repositories: dict[str, dict[str, str]] = {}
    totals = {image.short: image.total_kb * 1000 for image in images}
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as out:
        for age, image in enumerate(images):
            own = totals[image.short] - totals.get(image.parent, 0)
            layer = _layer(image.short, own, program if not image.parent else b"")
            _add(out, f"{image.id}/VERSION", b"1.0")
            _add(out, f"{image.id}/json", json.dumps(_document(image, age, own)).encode())
            _add(out, f"{image.id}/layer.tar", layer)
            for tag in image.tags:
                repository, _, name = tag.partition(":")
                repositories.setdefault(repository, {})[name] = image.id
        _add(out, "repositories", json.dumps(repositories).encode())
    return sink.getvalue()


def _document(image: OldImage, age: int, own: int) -> dict[str, object]:
    """Return the `json` of 2014; the images of the drawing are the older, the further down they stand."""
    config = {"Cmd": ["/bin/bash"], "Env": ["HOME=/", "PATH=/bin"], "Image": full(image.parent), "Memory": 0}
    parent = {"parent": full(image.parent)} if image.parent else {}
    return {
        "id": image.id,
        **parent,
        "created": f"2014-04-24T18:{59 - age // 60:02}:{59 - age % 60:02}.123456789Z",
        "container": "0" * 64,
        "container_config": {**config, "Cmd": ["/bin/sh", "-c", f"#(nop) ADD {image.short} in /"]},
        "docker_version": "0.10.0",
        "author": "Tanky Woo",
        "config": config,
        "architecture": "amd64",
        "os": "linux",
        "Size": own,
    }


def _layer(short: str, size: int, program: bytes) -> bytes:
    """Return the tar of a layer with one sparse file of `size` bytes (GNU's PAX 1.0), or of nothing."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as out:
        if program:
            _add(out, "bin/sh", program, 0o755)
        if size:
            entry = tarfile.TarInfo(f"GNUSparseFile.0/{short}")
            entry.pax_headers = {
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.name": short,
                "GNU.sparse.realsize": str(size),
            }
            data = f"1\n{size}\n0\n".encode().ljust(BLOCK, b"\0")
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def write(path: Path) -> None:
    """Write the archive of the whole page to a file."""
    path.write_bytes(archive())
