"""The programs that every system has: mount(8), pivot_root(8), umount(8)."""

import os
import subprocess
import sys


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())


def isolate_mounts():
    call("mount", "--make-rprivate", "/")


def attach_root(path, rootfs=-1):
    if rootfs < 0:
        call("mount", "--rbind", path, path)
        return
    code = "import sys; from minidock.kernel import mounts; mounts.move_mount(int(sys.argv[1]), sys.argv[2])"
    path_of_modules = os.pathsep.join(filter(None, sys.path))
    subprocess.run(
        [sys.executable, "-c", code, str(rootfs), path],
        pass_fds=[rootfs],
        env={"PYTHONPATH": path_of_modules},
        check=True,
    )


def pivot(path):
    os.chdir(path)
    os.mkdir("old-root")
    if os.spawnv(os.P_WAIT, "/sbin/pivot_root", ["pivot_root", ".", "old-root"]):
        os.rmdir("old-root")
        raise OSError(22, "pivot_root failed", path)
    os.chdir("/")
    from minidock.kernel import mounts

    mounts.umount("old-root", mounts.MNT_DETACH)
    os.rmdir("old-root")
