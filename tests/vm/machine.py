"""One virtual machine for all tests: Vagrant makes and ends it, one ssh connection does the rest.

A `vagrant` command takes 2 to 3 s before it does anything (it starts a Ruby), an ssh command through an open
control connection 0.1 s: so Vagrant is asked for up, halt and destroy only. ssh_config(5), ControlMaster.
"""

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import vagrant

from setup import environment

CONNECT_TIMEOUT = 10
BOOT_TIMEOUT = 900.0
GUEST_CHECKOUT = "vagrant"  # below /
LEFT_OUT = (".git", "__pycache__", ".vagrant", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")
DOCKERS_FILES = Path(__file__).parents[3] / "shared" / "data"


class Machine:
    """The machine of the checkout's Vagrantfile: up(), run() ..., cut_power(), boot(), destroy()."""

    def __init__(self, checkout: Path, scratch: Path) -> None:
        self.checkout = checkout
        self._scratch = scratch
        self._ssh_config = scratch / "ssh_config"
        self._vagrant = vagrant.Vagrant(
            root=str(checkout), out_cm=self._log, err_cm=self._log, env=dict(os.environ)
        )

    def up(self) -> None:
        """Make and start the machine, and copy the checkout into it. Raises with Vagrant's own words."""
        try:
            self._vagrant.up(provider="libvirt")
        except subprocess.CalledProcessError as error:
            raise AssertionError(f"the virtual machine did not start:\n{self.log[-6000:]}") from error
        self._ssh_config.write_text(self._vagrant.ssh_config() + self._connection_options())
        self.copy_checkout()

    def destroy(self) -> None:
        """End the machine and delete its disk. Never raises: libvirtd.sh takes down what is left."""
        self.disconnect()
        with contextlib.suppress(Exception):
            self._vagrant.destroy()

    @property
    def log(self) -> str:
        """What Vagrant has said so far."""
        return (self._scratch / "vagrant.log").read_text(errors="replace")

    @property
    def address(self) -> str:
        """The machine's address, as seen from here."""
        lines = (line.split() for line in self._ssh_config.read_text().splitlines())
        return next(words[1] for words in lines if words and words[0] == "HostName")

    @property
    def domain(self) -> str:
        """Libvirt's name of the machine."""
        return (self._scratch / "state" / "machines" / "default" / "libvirt" / "id").read_text().strip()

    def run(
        self, command: str, *, root: bool = True, check: bool = True, timeout: float = 600, give: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command line in the machine; AssertionError with its output when it fails."""
        if root:
            command = f"sudo -n sh -c {shlex.quote(command)}"
        answer = subprocess.run(
            self._ssh(command), input=give, capture_output=True, timeout=timeout, check=False
        )
        result = subprocess.CompletedProcess(
            command,
            answer.returncode,
            answer.stdout.decode(errors="replace"),
            answer.stderr.decode(errors="replace"),
        )
        if check and result.returncode:
            raise AssertionError(
                f"in the machine, {command!r} gave {result.returncode}:\n{result.stdout}{result.stderr}"
            )
        return result

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a shell command line as root and do not wait for it."""
        wrapped = f"sudo -n sh -c {shlex.quote(command)}"
        return subprocess.Popen(
            self._ssh(wrapped), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def put(self, path: str, data: bytes) -> None:
        """Write a file in the machine, as root."""
        self.run(f"cat > {shlex.quote(path)}", give=data)

    def copy_checkout(self) -> None:
        """Make the machine's copy of the checkout equal to the files here."""
        copy = self._scratch / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        left_out = shutil.ignore_patterns(*LEFT_OUT)
        shutil.copytree(self.checkout, copy / GUEST_CHECKOUT, symlinks=True, ignore=left_out)
        self._compile(copy)
        if DOCKERS_FILES.exists():  # tests look for them beside the checkout
            shutil.copytree(DOCKERS_FILES, copy / "shared/data")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(copy, ".")
        self.run(f"rm -rf /{GUEST_CHECKOUT} && tar -xf - -C / --no-same-owner", give=buffer.getvalue())
        shutil.rmtree(copy)

    def _compile(self, copy: Path) -> None:
        """Leave the bytecode beside the source: compiling in an emulated machine would take minutes."""
        names = [f"{copy}/{GUEST_CHECKOUT}/{name}" for name in ("minidock", "setup", "bench", "tests")]
        # The interpreter of the machine is this host's: the box has its release.
        command = [environment.DEBIAN_PYTHON, "-m", "compileall", "-q", "-s", str(copy), "-p", "/", *names]
        subprocess.run(command, check=True)

    def reboot(self) -> None:
        """Shut the machine down in order, as its user would, and wait for the next boot."""
        before = self.boot_id()
        self.run("systemctl --no-block reboot", check=False)
        self.disconnect()
        self._wait_for_ssh(before)

    def cut_power(self) -> None:
        """End the machine between two instructions: what it had not flushed to its disk is lost."""
        self.disconnect()
        self._virsh("destroy", self.domain)

    def boot(self) -> None:
        """Start the machine again after a power cut."""
        self._virsh("start", self.domain)
        self._wait_for_ssh("")

    def boot_id(self) -> str:
        """Return the random name of the machine's present boot."""
        return self.run("cat /proc/sys/kernel/random/boot_id").stdout.strip()

    def disconnect(self) -> None:
        """Close the control connection, which would answer for a machine that is gone."""
        if self._ssh_config.exists():
            command = ["ssh", "-F", str(self._ssh_config), "-O", "exit", "default"]
            subprocess.run(command, capture_output=True, check=False)

    def _wait_for_ssh(self, former_boot: str) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT
        while time.monotonic() < deadline:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                if self.run("cat /proc/sys/kernel/random/boot_id", timeout=60).stdout.strip() != former_boot:
                    return
                self.disconnect()  # still the boot that is about to end
            time.sleep(1)
        raise AssertionError(f"the machine did not come back within {BOOT_TIMEOUT} s")

    def _connection_options(self) -> str:
        control = self._scratch / "ssh"
        options = {
            "ControlMaster": "auto",
            "ControlPath": control,
            "ControlPersist": "yes",
            "ServerAliveInterval": 15,
            "ServerAliveCountMax": 8,
            "ConnectTimeout": CONNECT_TIMEOUT,
        }
        return "".join(f"  {name} {value}\n" for name, value in options.items())

    def _ssh(self, command: str) -> Sequence[str]:
        return ["ssh", "-F", str(self._ssh_config), "default", command]

    def _virsh(self, *arguments: str) -> None:
        command = ["virsh", "-q", "-c", "qemu:///system", *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise AssertionError(f"{' '.join(command)}: {answer.stderr}")

    @contextlib.contextmanager
    def _log(self, *_: object) -> Iterator[io.TextIOWrapper]:
        """Give one Vagrant command a file to write to; a pipe that nobody reads would stop it."""
        with open(self._scratch / "vagrant.log", "a") as file:
            yield file
