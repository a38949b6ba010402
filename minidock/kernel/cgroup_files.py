"""Reading, writing and walking the files of a cgroup, whichever version it is.

Nothing here ever creates a file: /sys/fs/cgroup may be an ordinary tmpfs, where open(path, "w") on a wrong
path would quietly make a file that limits nobody. And each limit is read back, since the kernel rounds and
clamps without a word. cgroups(7).
"""

import errno
import os
import time
from collections.abc import Iterator, Sequence

PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
EMPTYING_TIMEOUT = 5.0  # how long delete waits for killed processes to be gone


def read(directory: str, name: str) -> str:
    """Read one file whole, without the last newline."""
    descriptor = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
    finally:
        os.close(descriptor)
    return b"".join(chunks).decode().rstrip("\n")


def write(directory: str, name: str, *values: str) -> None:
    """Write each value in one write(2), as the kernel expects it. OSError names the file and the value."""
    path, value = f"{directory}/{name}", ""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for value in values:
                os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _named(error, path, value) from None


def write_checked(directory: str, name: str, value: str, expected: str | None = None) -> None:
    """Write `value` and read it back: OSError(EINVAL) unless it says `expected` (default: the same)."""
    write(directory, name, value)
    actual = read(directory, name)
    if actual != (value if expected is None else expected):
        raise did_not_take(directory, name, value, actual)


def did_not_take(directory: str, name: str, value: str, actual: str) -> OSError:
    """Build the error for a limit that the kernel accepted but did not keep."""
    message = f"the kernel made {actual!r} of the limit {value!r}"
    return OSError(errno.EINVAL, message, f"{directory}/{name}")


def read_optional(directory: str | None, name: str) -> str | None:
    """Read a file that some kernels lack: None if it, or its controller, is not there."""
    if directory is None:
        return None
    try:
        return read(directory, name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:  # e.g. a counter whose accounting is switched off
            return None
        raise


def read_number(directory: str | None, name: str) -> int | None:
    """Read one number; None if the file is missing or says "max"."""
    text = read_optional(directory, name)
    return None if text is None or text == "max" else int(text)


def read_pairs(directory: str | None, name: str) -> dict[str, int]:
    """Read lines of "key number"; empty if the file is missing."""
    text = read_optional(directory, name) or ""
    return {key: int(value) for key, value in (line.split() for line in text.splitlines())}


def cpu_list(text: str) -> frozenset[int]:
    """Parse "0-2,7" to {0, 1, 2, 7}: the kernel prints the same set in other words than it was given."""
    numbers: set[int] = set()
    try:
        for part in filter(None, text.strip().split(",")):
            first, dash, last = part.partition("-")
            numbers.update(range(int(first), int(last if dash else first) + 1))
    except ValueError:
        raise ValueError(f"invalid list of CPUs or memory nodes: {text!r}") from None
    return frozenset(numbers)


def write_cpu_list(directory: str, name: str, value: str) -> None:
    """Write a cpuset list and check that the kernel understood the same set."""
    wanted = cpu_list(value)
    write(directory, name, value)
    actual = read(directory, name)
    if cpu_list(actual) != wanted:
        raise did_not_take(directory, name, value, actual)


def descendants(directory: str) -> Iterator[str]:
    """Yield the cgroups below `directory`, deepest first, and `directory` itself last."""
    try:
        children = [entry.path for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for child in children:
        yield from descendants(child)
    yield directory


def processes(directory: str, name: str = "cgroup.procs") -> list[int]:
    """List the processes in `directory` and in the cgroups below it; empty if it is not there."""
    found: set[int] = set()
    for cgroup in descendants(directory):
        try:
            found.update(int(line) for line in read(cgroup, name).split())
        except OSError as error:
            # Removed since we listed it: open gives ENOENT, reading an open file ENODEV.
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
    return sorted(found)


def make(directory: str, root: str) -> bool:
    """Make a cgroup and the missing ones between `root` and it; False if it was already there."""
    try:
        os.mkdir(directory, 0o755)
        return True
    except FileExistsError:
        return False
    except FileNotFoundError:
        parent = os.path.dirname(directory)
        if len(parent) <= len(root):  # the hierarchy itself is gone
            raise
    make(parent, root)
    return make(directory, root)


def remove(directories: Sequence[str], timeout: float = EMPTYING_TIMEOUT) -> None:
    """Remove cgroups with everything below them; none of them needs to exist.

    A cgroup stays busy for a moment after its last process was killed, so EBUSY is retried until `timeout`.
    """
    deadline = time.monotonic() + timeout
    for directory in directories:
        pause = 0.0005
        while not _removed(directory):
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, f"cgroup still holds processes {processes(directory)}", directory)
            time.sleep(pause)
            pause = min(pause * 2, 0.02)


def _removed(directory: str) -> bool:
    """Try once to remove a cgroup, and if it is busy those below it first."""
    try:
        os.rmdir(directory)
        return True
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    for cgroup in descendants(directory):
        try:
            os.rmdir(cgroup)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            return False
    return True


def _named(error: OSError, path: str, value: str) -> OSError:
    named = OSError(error.errno, error.strerror, path)
    named.add_note(f"while writing {value!r} to {path}")
    if error.errno == errno.ENOENT:
        named.add_note(f"the kernel, or this cgroup, has no {os.path.basename(path)}")
    return named
