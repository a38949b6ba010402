"""minidock doctor: each way to have a Linux is told from the others."""

from pathlib import Path

import pytest

from minidock.learn import doctor

RELEASE, PRODUCT = "proc/sys/kernel/osrelease", "sys/class/dmi/id/product_name"
VENDOR, PROCESSOR = "sys/class/dmi/id/sys_vendor", "proc/cpuinfo"
DOORS = {
    "native": ({RELEASE: "6.1.0-13-amd64", PRODUCT: "ThinkPad", PROCESSOR: "flags\t: fpu sse2"}, {}),
    "virtual machine": ({RELEASE: "6.1.0-13-amd64", PROCESSOR: "flags\t: fpu hypervisor sse2"}, {}),
    "virtual machine: QEMU": ({PRODUCT: "QEMU Virtual Machine", VENDOR: "QEMU", PROCESSOR: ""}, {}),
    "container": ({RELEASE: "6.1.0-13-amd64", ".dockerenv": ""}, {}),
    "dev container": (
        {RELEASE: "5.15.167.4-microsoft-standard-WSL2", ".dockerenv": ""},
        {"REMOTE_CONTAINERS": "true"},
    ),
    "Codespace": ({".dockerenv": ""}, {"CODESPACES": "true"}),
    "WSL2": ({RELEASE: "5.15.167.4-microsoft-standard-WSL2"}, {}),
    "WSL1": ({RELEASE: "4.4.0-19041-Microsoft"}, {}),
}


@pytest.mark.parametrize("door", DOORS)
def test_each_door_is_recognised(door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, variables = DOORS[door]
    for name in ("CODESPACES", "REMOTE_CONTAINERS", "DEVCONTAINER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (found,) = doctor._surroundings(tmp_path)
    assert found.seen.startswith(door)
    assert found.verdict == (doctor.BAD if door == "WSL1" else doctor.GOOD)
    assert bool(found.mend) == (door == "WSL1")


def test_this_machine_is_one_of_them() -> None:
    (found,) = doctor._surroundings()
    assert found.seen.split(":")[0] in (
        "native",
        "virtual machine",
        "container",
        "dev container",
        "Codespace",
        "WSL2",
    )
