"""`./test --vm`: the tests inside a virtual machine with another kernel, systemd and cgroups version 2.

Its box is built once from the host's own package sources and again when its recipe changes. Everything else
(a libvirtd, the machine, its network) lives in namespaces of this one run and ends with it:
tests/vm/libvirtd.sh.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from setup import environment, packages, places, plan, privilege
from setup.plan import Step
from setup.privilege import Refused

# Each package by a file that is there once it is installed.
PACKAGES = {
    "vagrant": "/usr/bin/vagrant",
    "vagrant-libvirt": "/usr/share/doc/vagrant-libvirt",
    "libvirt-daemon-system": "/etc/libvirt/qemu.conf",
    "libvirt-daemon": "/usr/sbin/libvirtd",
    "libvirt-clients": "/usr/bin/virsh",
    "dnsmasq-base": "/usr/sbin/dnsmasq",
    "iptables": "/usr/sbin/iptables",
    "iproute2": "/usr/sbin/ip",
    "qemu-utils": "/usr/bin/qemu-img",
    "mmdebstrap": "/usr/bin/mmdebstrap",
    "cpio": "/usr/bin/cpio",
    "openssh-client": "/usr/bin/ssh",
    "e2fsprogs": "/usr/sbin/mke2fs",
}
QEMU = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}
NOT_IN_BOX = ("ruff", "mypy", "python-vagrant")
SUITE = "tests/vm"
LONGEST, LONGEST_SOAK = 4 * 3600, 16 * 3600  # seconds for one case out here: all tests inside are one
ROUNDS = 3  # of a stress test, unless --rounds says how many
WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")
# What a test may wait for grows by this where the processor is emulated (Python is 9 to 20 times slower).
EMULATED_TIME_SCALE = 15


def main(rest: Sequence[str], python: str, rounds: int | None, soak: bool) -> int:
    """Set up what is missing, build the box if its recipe is new, and run tests/vm; 0 when all passed."""
    if sys.platform != "linux" or os.uname().machine not in QEMU:
        raise Refused(
            "./test --vm needs Linux on x86_64 or aarch64; elsewhere `vagrant up` makes the machine."
        )
    steps = [*_packages(), *plan.for_tests(python)]
    plan.carry_out(steps, "./test --vm", "build a virtual machine, and run tests in it")
    inner = places.test_environment(python) / "bin" / "python"
    repeat = ["--soak"] if soak else [f"--rounds={ROUNDS if rounds is None else rounds}"]
    # Whoever kills this process, however, ends the next one, and that one libvirtd.sh.
    command = [*WITH_PARENT, str(inner), "-B", "-m", "setup.vm", *repeat, *rest]
    variables = {"PATH": packages.SEARCH, "MINIDOCK_VM_CACHE": str(_cache())}
    for name in ("MINIDOCK_VM_ACCEL", "MINIDOCK_TIME_SCALE"):
        if name in os.environ:
            variables[name] = os.environ[name]
    return subprocess.run(privilege.as_root(command, variables), cwd=places.CHECKOUT, check=False).returncode


def _packages() -> list[Step]:
    names = [name for name, path in PACKAGES.items() if not os.path.exists(path)]
    machine = os.uname().machine
    if not os.path.exists(f"/usr/bin/qemu-system-{machine}"):
        names.append(QEMU[machine])
    if not names:
        return []
    text = f"install Debian packages for the virtual machine, with service starts denied: {' '.join(names)}"
    return [Step(text, True, lambda: privilege.root_step("packages", *names))]


def _cache() -> Path:
    return places.cache() / "vm"


def run(arguments: Sequence[str]) -> int:
    """As root, with the environment of the tests: build the box if needed, and run pytest beside libvirtd."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that what was begun is ended
    cache = Path(os.environ["MINIDOCK_VM_CACHE"])
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache):
        box = _box(cache)
        scratch = cache / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        scratch.mkdir()
        try:
            return _tests(cache, box, scratch, arguments)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _tests(cache: Path, box: Path, scratch: Path, arguments: Sequence[str]) -> int:
    found = cache / "results"
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir()
    report = found / "vm.xml"
    variables = {
        **os.environ,
        "VAGRANT_HOME": str(cache / "vagrant"),
        "VAGRANT_DOTFILE_PATH": str(scratch / "state"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "MINIDOCK_BOX": box.stem,
        "MINIDOCK_BOX_URL": f"file://{box}",
        "MINIDOCK_VM_SCRATCH": str(scratch),
        "MINIDOCK_VM_RESULTS": str(found),
        "MINIDOCK_TIME_SCALE": os.environ.get("MINIDOCK_TIME_SCALE") or str(_time_scale()),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        "--vm",
        f"--junitxml={report}",
    ]
    inside = [word for word in arguments if word.startswith("tests/") and not word.startswith(SUITE)]
    longest = LONGEST_SOAK if "--soak" in arguments else LONGEST
    command += ["-rA", "--capture=tee-sys", f"--timeout={longest}"]
    command += [f"--inside={word}" if word in inside else word for word in arguments]
    if not any(argument.startswith(SUITE) for argument in arguments):
        command.append(f"{SUITE}/test_inside.py" if inside or "--soak" in arguments else SUITE)
    process = subprocess.Popen(
        [*WITH_PARENT, str(places.CHECKOUT / SUITE / "libvirtd.sh"), str(scratch), *command],
        cwd=places.CHECKOUT,
        env=variables,
    )
    try:
        return process.wait()
    finally:  # an interrupt or a signal: the machine goes with the process that holds its namespaces
        process.terminate()
        process.wait()


def _box(cache: Path) -> Path:
    """Return the box that this recipe makes, built now unless it is there; older ones are deleted."""
    box = cache / _box_name()
    if box.exists():
        return box
    for old in [*cache.glob("minidock-*.box"), *cache.glob("box.*")]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.rmtree(cache / "vagrant", ignore_errors=True)
    wheels = cache / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir()
    print(f"Building the virtual machine's box, {box} (about two minutes) ...", flush=True)
    # The box has this host's release, so its python3 is the host's own.
    ask = [environment.DEBIAN_PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    version = subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "-qq",
        "download",
        "--only-binary=:all:",
    ]
    subprocess.run([*pip, f"--python-version={version}", "-d", wheels, *_libraries()], check=True)
    subprocess.run([_recipe(), box, wheels], check=True)
    shutil.rmtree(wheels)
    return box


def _box_name() -> str:
    release = Path("/etc/os-release").read_text()
    digest = hashlib.sha256("\0".join([_recipe().read_text(), release, *_libraries()]).encode()).hexdigest()
    return f"minidock-{digest[:12]}.box"


def _recipe() -> Path:
    return places.CHECKOUT / SUITE / "build_box.sh"


def _libraries() -> list[str]:
    return [line for line in environment.requirements("test") if not line.startswith(NOT_IN_BOX)]


def _time_scale() -> int:
    if os.environ.get("MINIDOCK_VM_ACCEL") == "kvm":
        return 1
    flags = Path("/proc/cpuinfo").read_text()
    native = os.access("/dev/kvm", os.W_OK) and any(flag in flags.split() for flag in ("vmx", "svm"))
    return 1 if native and os.environ.get("MINIDOCK_VM_ACCEL") != "tcg" else EMULATED_TIME_SCALE


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Hold the cache for this run; Refused when another one has it."""
    with open(cache / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another ./test --vm is running ({cache}/lock is held).") from None
        yield


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:]))
    except Refused as refusal:
        sys.exit(str(refusal))
