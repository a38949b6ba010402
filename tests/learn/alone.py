"""Things that need a process without threads: `-m tests.learn.alone WHAT`, answering on stdout as JSON."""

import json
import sys
import time

from minidock.learn import chapters, grade, predict, sandbox, source
from minidock.learn.piece import Piece

HARM = {
    "removes everything": "    import shutil\n    shutil.rmtree('/', ignore_errors=True)\n",
    "removes with rm": "    os.system('/bin/rm -rf --no-preserve-root / 2>/dev/null')\n",
    "unmounts everything": (
        "    for mount in reversed(mounts.mountinfo()):\n"
        "        try:\n            mounts.umount(mount.target, 2)\n"
        "        except OSError:\n            pass\n"
    ),
    "never ends": "    while True:\n        pass\n",
    "blocks every signal and sleeps": (
        "    import signal, time\n    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "    time.sleep(1000)\n"
    ),
    "forks without end": (
        "    while True:\n        try:\n            os.fork()\n        except OSError:\n            pass\n"
    ),
    "eats memory": "    hoard = []\n    while True:\n        hoard.append(bytearray(1 << 24))\n",
    "kills everybody": "    os.kill(-1, 9)\n",
    "renames the machine": "    import socket\n    socket.sethostname('vandal')\n",
    "sets the clock and the disks": (
        "    for number in range(16):\n"
        "        try:\n"
        "            os.mknod(f'/scratch/disk{number}', 0o60600, os.makedev(254, number))\n"
        "            os.close(os.open(f'/scratch/disk{number}', os.O_RDWR))\n"
        "            print('OPENED A DISK')\n"
        "        except OSError:\n            pass\n"
    ),
}


def harm() -> object:
    """Grade the solution of chapter 3 with harm in front of its first step."""
    chapter = chapters.chapter(3)
    solved = source.solution(chapter)
    step = '    mounts.mount(None, "/", None, mounts.MS_SLAVE | mounts.MS_REC)\n\n\ndef attach_root'
    answer = {}
    check = chapter.checks()[0]
    with grade.grading(sandbox.Room(timeout=10, memory=128 << 20, pids=32)) as grader:
        for name, lines in HARM.items():
            text = solved.replace(step, lines + step)
            assert text != solved
            began = time.monotonic()
            result = grader.run(chapter, Piece("/home/learner/mine.py", text), check)
            answer[name] = [result.passed, result.seen, result.printed, time.monotonic() - began]
    return answer


def predictions() -> object:
    """Run every experiment: the chapter's number, the choices, and what happened."""
    answer = []
    room = sandbox.Room()
    with sandbox.limits(room) as group:
        for chapter in chapters.written():
            for question in predict.questions(chapter):
                lines = predict.experiment(question, group, room)
                answer.append([chapter.number, list(question.choices), lines])
    return answer


def view() -> object:
    """Return what a process in a sandbox sees and may do."""
    import os

    from minidock.kernel import mounts, namespaces

    def inside(records: int) -> None:
        tries = {}
        for path in ("/etc/minidock-was-here", "/usr/x", "/x", "/scratch/x"):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
                tries[path] = "written"
            except OSError as error:
                tries[path] = os.strerror(error.errno or 0)
        facts = {
            "tries": tries,
            "shared": all(mount.shared for mount in mounts.mountinfo()),
            "namespaces": {
                name: namespaces.inode("self", name) for name in ("mount", "pid", "network", "uts", "ipc")
            },
            "devices": sorted(os.listdir("/dev")),
            "interfaces": os.listdir("/sys/class/net"),
            "processes": [name for name in os.listdir("/proc") if name.isdecimal()],
        }
        os.write(records, json.dumps(facts).encode() + b"\n")

    room = sandbox.Room()
    with sandbox.limits(room) as group:
        stay = sandbox.stay(inside, group, room)
        return {**stay.records[0], "cgroup": group.path}


if __name__ == "__main__":
    json.dump({"harm": harm, "predictions": predictions, "view": view}[sys.argv[1]](), sys.stdout)
