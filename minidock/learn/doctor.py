"""Is this machine fit for minidock? The kernel itself is asked, and every "no" comes with a remedy.

Cause near symptom: what is missing here shows later as an EINVAL or an ENOSYS far from its reason.
"""

import ctypes.util
import errno
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from minidock.kernel import cgroups, libc, mounts, namespaces, nftables
from minidock.paths import DEFAULT_DATA_ROOT

GOOD, NOTE, BAD = "ok", "note", "BAD"
_NEEDED_CALLS = (
    "pidfd_open",
    "close_range",
    "openat2",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsmount",
    "mount_setattr",
)
_NO_SUCH_DESCRIPTOR = -1
_NEW = (
    namespaces.CLONE_NEWNS
    | namespaces.CLONE_NEWPID
    | namespaces.CLONE_NEWNET
    | namespaces.CLONE_NEWUTS
    | namespaces.CLONE_NEWIPC
)
_CONTAINER_MARKS = (".dockerenv", "run/.containerenv", "run/systemd/container")
_DEV_CONTAINER = ("CODESPACES", "REMOTE_CONTAINERS", "DEVCONTAINER")
# The makers of machines, for where no flag of the processor tells: on aarch64.
_HYPERVISORS = ("QEMU", "VMware", "Parallels", "Apple Inc")
_CONTROLLERS = ("memory", "cpu", "pids", "devices", "freezer", "cpuset", "blkio")


@dataclass(frozen=True)
class Finding:
    """One answer: `mend` says what to do about a BAD or a NOTE."""

    verdict: str
    subject: str
    seen: str
    mend: str = ""


def examine() -> list[Finding]:
    """Ask all questions. An examination that fails itself is a BAD finding, not a crash."""
    findings: list[Finding] = []
    for question in QUESTIONS:
        try:
            findings += question()
        except OSError as error:
            findings.append(
                Finding(
                    BAD, question.__name__.strip("_"), str(error), "report this: doctor expected an answer"
                )
            )
    return findings


def _machine() -> Iterator[Finding]:
    kernel, architecture = platform.release(), platform.machine()
    known = architecture in libc.NUMBERS
    yield Finding(
        GOOD if known else BAD,
        "kernel",
        f"Linux {kernel} on {architecture}",
        "" if known else f"minidock knows the system calls of {', '.join(libc.NUMBERS)}",
    )
    missing = [name for name in _NEEDED_CALLS if not _exists(name)]
    yield Finding(
        BAD if missing else GOOD,
        "system calls",
        f"missing: {', '.join(missing)}" if missing else "those of Linux 5.12 are there",
        "use a kernel of 5.12 or later, and no seccomp filter around this shell" if missing else "",
    )
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    yield Finding(
        GOOD if good else BAD, "python", version, "" if good else "minidock needs Python 3.11 or later"
    )


def _exists(name: str) -> bool:
    """Make the call with arguments that cannot do anything."""
    try:
        libc.syscall(name, _NO_SUCH_DESCRIPTOR, None, 0, 0)
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def _rights() -> Iterator[Finding]:
    root = os.geteuid() == 0
    yield Finding(
        GOOD if root else NOTE,
        "rights",
        "root" if root else f"user {os.geteuid()}",
        "" if root else "the engine and the graders need root: use sudo (this report sees more then, too)",
    )
    if root:
        mask = next(
            line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")
        )
        admin = int(mask.split()[1], 16) >> 21 & 1
        yield Finding(
            GOOD if admin else BAD,
            "capabilities",
            mask,
            ""
            if admin
            else "CAP_SYS_ADMIN is missing: this is a container; run it with --privileged, or in a VM",
        )


def _surroundings(root: Path = Path("/")) -> Iterator[Finding]:
    """Which door did the user come in by: native, container, WSL or virtual machine?"""
    release = _text(root / "proc/sys/kernel/osrelease").lower()
    marks = [name for name in _CONTAINER_MARKS if (root / name).exists()]
    if "microsoft" in release and not marks:
        second = "wsl2" in release
        yield Finding(
            GOOD if second else BAD,
            "machine",
            "WSL2" if second else "WSL1, which has no Linux kernel",
            "" if second else "wsl --set-version <distribution> 2",
        )
    elif marks:
        kind = "Codespace" if os.environ.get("CODESPACES") == "true" else "dev container"
        kind = kind if any(name in os.environ for name in _DEV_CONTAINER) else "container"
        yield Finding(GOOD, "machine", f"{kind}: there is /{marks[0]}")
    else:
        product = _text(root / "sys/class/dmi/id/product_name")
        product = product or _text(root / "proc/device-tree/model").rstrip("\0") or "unknown hardware"
        emulated = any("hypervisor" in line for line in _text(root / "proc/cpuinfo").splitlines())
        emulated = emulated or (root / "proc/device-tree/hypervisor").exists()
        emulated = emulated or _text(root / "sys/class/dmi/id/sys_vendor").startswith(_HYPERVISORS)
        yield Finding(GOOD, "machine", f"{'virtual machine' if emulated else 'native'}: {product}")


def _text(path: Path) -> str:
    """Return what a file says; nothing where the kernel does not have it."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _refused(attempt: Callable[[], object], flags: int = 0) -> str:
    """Return why `attempt` is impossible here, "" when it is not; in a child, in new namespaces (`flags`)."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            namespaces.unshare(flags)
            attempt()
            code = 0
        except OSError as error:
            os.write(writing, str(error).encode()[:4096])
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as words:
        reason = words.read().decode(errors="replace")
    status = os.waitpid(pid, 0)[1]
    return reason or (f"the attempt ended with status {status}" if status else "")


def _namespaces() -> Iterator[Finding]:
    missing = [
        name for name, kind in namespaces.NAMES.items() if not os.path.exists(f"/proc/self/ns/{kind.file}")
    ]
    essential = [name for name in missing if name not in ("time", "user", "cgroup")]
    yield Finding(
        BAD if essential else NOTE if missing else GOOD,
        "namespaces",
        f"missing: {', '.join(missing)}" if missing else ", ".join(namespaces.NAMES),
        "use a kernel with CONFIG_NAMESPACES and all its kinds" if missing else "",
    )
    if os.geteuid() == 0:
        reason = _refused(lambda: None, _NEW)
        yield Finding(
            BAD if reason else GOOD,
            "new namespaces",
            reason or "made: mount, pid, network, uts, ipc",
            "look at /proc/sys/user/max_*_namespaces; in a container, run it with --privileged"
            if reason
            else "",
        )


def _cgroups() -> Iterator[Finding]:
    try:
        hierarchy = cgroups.hierarchy()
    except OSError as error:
        yield Finding(BAD, "cgroups", str(error), "mount -t cgroup2 none /sys/fs/cgroup")
        return
    if hierarchy.version == 2:
        root = Path(hierarchy.mounts[cgroups.UNIFIED])
        found = (root / "cgroup.controllers").read_text().split()
        missing = [name for name in ("memory", "cpu", "pids") if name not in found]
        mend = "boot with cgroup_enable=memory, or let systemd delegate the controllers" if missing else ""
    else:
        found = [name for name in hierarchy.mounts if not name.startswith("name=")]
        missing = [name for name in _CONTROLLERS if name not in found]
        mend = f"mount -t cgroup -o {missing[0]} none /sys/fs/cgroup/{missing[0]}" if missing else ""
    seen = f"version {hierarchy.version}: {', '.join(found)}"
    yield Finding(
        BAD if missing else GOOD, "cgroups", seen + (f"; missing {missing}" if missing else ""), mend
    )


def _overlay() -> Iterator[Finding]:
    there = "overlay" in Path("/proc/filesystems").read_text()
    yield Finding(
        GOOD if there else BAD,
        "overlayfs",
        "in /proc/filesystems" if there else "not in /proc/filesystems",
        "" if there else "modprobe overlay",
    )
    if os.geteuid() == 0:
        place = next(
            path
            for path in (DEFAULT_DATA_ROOT, os.path.dirname(DEFAULT_DATA_ROOT), "/")
            if os.path.isdir(path)
        )
        with tempfile.TemporaryDirectory(prefix=".minidock-doctor-", dir=place) as directory:
            reason = _refused(lambda: _mount_overlay(directory), namespaces.CLONE_NEWNS)
        yield Finding(
            BAD if reason else GOOD,
            "layers",
            f"{place}: {reason or 'an overlay can be mounted there'}",
            f"keep them on ext4 or xfs: --data-root, or in a container a volume at {DEFAULT_DATA_ROOT}"
            if reason
            else "",
        )


def _mount_overlay(directory: str) -> None:
    names = {"lowerdir": "below", "upperdir": "above", "workdir": "work"}
    for name in names.values():
        os.mkdir(f"{directory}/{name}")
    os.chdir(directory)
    options = ",".join(f"{option}={name}" for option, name in names.items())
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    mounts.mount("overlay", "above", "overlay", 0, options)


def _mounts() -> Iterator[Finding]:
    root = next(mount for mount in mounts.mountinfo() if mount.target == "/")
    kind = "shared" if root.shared else "private"
    yield Finding(GOOD, "mount tree", f"/ is {kind} ({root.fstype})")
    if root.fstype == "rootfs":
        yield Finding(NOTE, "pivot_root", "/ is an initramfs", "containers enter their root by chroot here")


def _libraries() -> Iterator[Finding]:
    for name, package, why in (
        ("seccomp", "libseccomp2", "containers run without their system call filter"),
        ("nftables", "libnftables1", "ports cannot be published"),
    ):
        found = ctypes.util.find_library(name)
        yield Finding(
            GOOD if found else BAD,
            f"lib{name}",
            found or f"not found: {why}",
            "" if found else f"apt-get install {package}",
        )
    if os.geteuid() == 0 and ctypes.util.find_library("nftables"):
        rules = "table inet doctor {\nchain c {\ntype nat hook prerouting priority -100\n}\n}\n"
        reason = _refused(lambda: nftables.Nftables().run(rules), namespaces.CLONE_NEWNET)
        yield Finding(
            BAD if reason else GOOD,
            "nftables",
            reason or "a table with NAT can be made",
            "modprobe nf_tables nft_nat, or a kernel with CONFIG_NF_TABLES_INET and CONFIG_NFT_NAT"
            if reason
            else "",
        )


def _programs() -> Iterator[Finding]:
    docker = shutil.which("docker")
    yield Finding(
        GOOD if docker else NOTE,
        "docker client",
        docker or "not on PATH",
        "" if docker else "any docker client drives minidock; ./demo unpacks one, minidock's own needs none",
    )
    box = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path)), "")
    yield Finding(
        GOOD if box else NOTE,
        "busybox",
        box or "not found: the image hostbox is made from your own shell and tools",
        "" if box else "apt-get install busybox-static",
    )


def _network() -> Iterator[Finding]:
    path = Path("/proc/sys/net/ipv4/ip_forward")
    on = path.exists() and path.read_text().strip() == "1"
    yield Finding(
        GOOD if on else NOTE,
        "forwarding",
        "on" if on else "off",
        "" if on else "the engine turns it on for its bridge",
    )
    names = Path("/proc/net/ip_tables_names")
    if names.exists() and os.access(names, os.R_OK) and "filter" in names.read_text():
        yield Finding(
            NOTE,
            "iptables-legacy",
            "its table `filter` is loaded and can drop what nftables accepts",
            "iptables-legacy -I FORWARD -i minidock0 -j ACCEPT; "
            "iptables-legacy -I FORWARD -o minidock0 -j ACCEPT",
        )


QUESTIONS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _machine,
    _rights,
    _surroundings,
    _namespaces,
    _cgroups,
    _overlay,
    _mounts,
    _libraries,
    _programs,
    _network,
)


def report() -> int:
    """Print all findings; return 1 when one is BAD."""
    findings = examine()
    for finding in findings:
        print(f"{finding.verdict:5} {finding.subject:16} {finding.seen}")
        if finding.mend:
            print(f"{'':22} -> {finding.mend}")
    bad = sum(finding.verdict == BAD for finding in findings)
    print(
        f"\n{len(findings)} questions, {bad} to mend before minidock can run."
        if bad
        else "\nminidock can run here."
    )
    return 1 if bad else 0
