"""Who the program is and what it may do: ids, capabilities, no_new_privs, the seccomp filter, limits.

Order is the whole content of this module. The bounding set shrinks while we may still shrink it; ids change
while the capabilities are kept; the filter is loaded while we may still load it: before the capabilities go,
or after everything when no_new_privs makes that possible (so that it has least to allow). capabilities(7),
credentials(7), seccomp(2).
"""

import os
import resource

from minidock.kernel import capabilities, process, seccomp
from minidock.runtime.bundle import Capabilities, Process, User


def set_limits(spec: Process) -> None:
    """Set the rlimits that the spec asks for, and no others."""
    for limit in spec.rlimits:
        number = getattr(resource, limit.type, None)
        if number is None or not limit.type.startswith("RLIMIT_"):
            raise ValueError(f"unknown rlimit {limit.type}")
        try:
            resource.setrlimit(number, (_rlim(limit.soft), _rlim(limit.hard)))
        except (OSError, ValueError) as error:
            error.add_note(f"error setting rlimit {limit.type}")
            raise


def set_oom_score(spec: Process) -> None:
    """Set the OOM score that the spec asks for; where the host's /proc is, for a container may have none."""
    if spec.oom_score_adj is not None:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(spec.oom_score_adj))


def become(spec: Process, filter_program: bytes) -> None:
    """Take the program's identity; afterwards nothing privileged can be done by this process."""
    if filter_program and not spec.no_new_privileges:
        seccomp.load_filter(filter_program)
    wanted = spec.capabilities
    if wanted is not None:
        capabilities.drop_bounding(wanted.bounding)
        capabilities.set_keep_capabilities(True)
    set_ids(spec.user)
    if wanted is not None:
        capabilities.set_keep_capabilities(False)
        _set_capabilities(wanted, spec.user)
    if spec.no_new_privileges:
        process.set_no_new_privileges()
        if filter_program:
            seccomp.load_filter(filter_program)


def set_ids(user: User) -> None:
    """Change group list, gid and uid, in the only order that works: each step needs what the next gives
    up.
    """
    os.setgroups(list(user.additional_gids))
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    os.umask(user.umask)


def _set_capabilities(wanted: Capabilities, user: User) -> None:
    """Set the five sets. A program run by another user than root gets none at execve unless they are
    ambient.
    """
    root = user.uid == 0
    capabilities.set_process_capabilities(
        wanted.effective if root or wanted.ambient else (),
        wanted.permitted if root or wanted.ambient else (),
        wanted.inheritable,
    )
    # The kernel allows only what is permitted and inheritable too; `runc spec` asks for more, in vain.
    possible = capabilities.mask(wanted.permitted) & capabilities.mask(wanted.inheritable)
    capabilities.set_ambient(capabilities.names(capabilities.mask(wanted.ambient) & possible))


def _rlim(value: int) -> int:
    return resource.RLIM_INFINITY if value in (-1, 2**64 - 1) else value
