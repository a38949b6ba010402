"""The three files every container gets."""

import os
from pathlib import Path
from typing import Any

import pytest

from minidock.engine import etc_files
from minidock.engine.model import ContainerConfig, ContainerRecord, HostConfig, NetworkingConfig
from minidock.errors import InvalidParameter


def record(domain: str = "", **host: Any) -> ContainerRecord:
    return ContainerRecord(
        id="a", name="web", created="", image="", image_name="", layers=[], path="sh", args=[],
        config=ContainerConfig(hostname="box", domainname=domain), host_config=HostConfig(**host),
        networking=NetworkingConfig(),
    )  # fmt: skip


def test_a_container_knows_localhost_and_the_hosts_it_was_given() -> None:
    text = etc_files.hosts(record(extra_hosts=["db:10.0.0.1", "six=[fe80::1]"]))
    assert text.startswith("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost")
    assert text.endswith("10.0.0.1\tdb\nfe80::1\tsix\n")


def test_with_the_hosts_network_come_the_hosts_names() -> None:
    assert etc_files.hosts(record(network_mode="host")).startswith(Path("/etc/hosts").read_text())


@pytest.mark.parametrize(
    ("hostname", "domain", "line"),
    [
        ("box", "", "10.0.0.2\tbox\n"),
        ("box", "example.org", "10.0.0.2\tbox.example.org box\n"),
        ("box.example.org", "", "10.0.0.2\tbox.example.org box\n"),
    ],
)
def test_a_container_knows_itself_by_its_whole_name_and_its_first(
    hostname: str, domain: str, line: str
) -> None:
    given = record(domain)
    given.config.hostname = hostname
    assert etc_files.hosts(given, etc_files.Names(own=["10.0.0.2"])).endswith("\n" + line)
    assert etc_files.hostname(given) == f"{hostname}\n"


def test_dns_options_take_the_place_of_the_hosts() -> None:
    given = record(dns=["192.0.2.1"], dns_search=["a.org", "b.org"], dns_options=["ndots:2"])
    assert etc_files.resolv_conf(given) == "nameserver 192.0.2.1\nsearch a.org b.org\noptions ndots:2\n"


def test_no_name_server_on_the_hosts_loopback_is_left_without_its_network() -> None:
    assert "nameserver 127." not in etc_files.resolv_conf(record())


@pytest.mark.parametrize("entry", ["", "x", "x:", ":1", "="])
def test_a_bad_extra_host_is_refused(entry: str) -> None:
    with pytest.raises(InvalidParameter, match="bad format for add-host"):
        etc_files.split_extra_host(entry)


def test_files_are_changed_in_place_and_links_are_not_followed(tmp_path: Path) -> None:
    etc_files.write(record(), str(tmp_path))
    inode = (tmp_path / "hosts").stat().st_ino
    etc_files.write(record(extra_hosts=["db:10.0.0.1"]), str(tmp_path))
    assert (tmp_path / "hosts").stat().st_ino == inode
    assert (tmp_path / "hosts").stat().st_mode & 0o777 == 0o644
    (tmp_path / "hosts").unlink()
    os.symlink(tmp_path / "elsewhere", tmp_path / "hosts")
    with pytest.raises(OSError, match="symbolic links"):
        etc_files.write(record(), str(tmp_path))
    assert not (tmp_path / "elsewhere").exists()
