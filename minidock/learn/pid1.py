"""How the process 1 of a pid namespace spends its time, and what becomes of its signals, seen from outside.

Both are read in /proc/PID/stat and /proc/PID/status. proc_pid_stat(5), proc_pid_status(5).
"""

import signal
import time
from typing import TYPE_CHECKING

from minidock.learn.wrong import expect

if TYPE_CHECKING:
    from minidock.learn.bench import Bench

BUSY = 0.15  # seconds of processor time


def expect_sleep(bench: "Bench", pid: int) -> None:
    """Wrong when a process that has nothing to do works. What it used counts, not how long that took."""
    began, (_, before) = time.monotonic(), bench.eyes.work(pid)

    def is_settled() -> bool:
        state, used = bench.eyes.work(pid)
        return used - before > BUSY or (state == "S" and time.monotonic() - began > 2 * BUSY)

    bench.wait_until(is_settled)
    used = bench.eyes.work(pid)[1] - before
    expect(
        used <= BUSY,
        "serve sleeps while there is nothing to do",
        f"it used {used:.2f} s of processor time in {time.monotonic() - began:.2f} s, and nothing happened",
        "a loop that only asks keeps a processor busy for as long as the container lives: wait in the kernel "
        f"for the next signal (signal.sigwait); {bench.where('serve')}",
    )


def why_unheard(bench: "Bench", pid: int, number: int) -> str:
    """Say what became of a signal that pid 1 got and its child did not."""
    status = bench.eyes.status(pid)
    name = signal.Signals(number).name

    def holds(field: str) -> int:
        return int(status[field], 16) >> (number - 1) & 1

    if holds("SigCgt") and holds("SigBlk"):
        return f"a handler is installed for {name}, but {name} is blocked still, so that it is never called"
    if (holds("ShdPnd") or holds("SigPnd")) and status["State"].startswith("R"):
        return f"{name} is pending, and pid 1 runs in a loop that never takes it (signal.sigwait)"
    if holds("ShdPnd") or holds("SigPnd"):
        return (
            f"{name} is pending: it is blocked, and pid 1 waits for something else, in os.waitpid without "
            "os.WNOHANG? That waits for the next end, and is deaf meanwhile: reap those that have ended, "
            "then wait for the next signal"
        )
    return "docker stop signals pid 1: a program behind it never hears of it unless it is passed on"
