"""The seccomp filter of a container: Docker's profile or the user's, compiled once and kept.

Compiling takes some 10 ms, and most containers have the same capabilities and so the same filter. seccomp(2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock.engine import spec_security
from minidock.engine.containers import Container
from minidock.errors import InvalidParameter
from minidock.kernel import seccomp, seccomp_profile

if TYPE_CHECKING:
    from minidock.engine.engine import Engine


def seccomp_filter(engine: Engine, container: Container) -> bytes:
    """Return the compiled filter for the container, b"" when it is unconfined. Compiled once and kept."""
    host = container.record.host_config
    choice = spec_security.seccomp_choice(host)
    if choice == spec_security.UNCONFINED:
        return b""
    allowed = spec_security.capability_set(host.cap_add or (), host.cap_drop or (), host.privileged)
    key = (choice, allowed)
    if key not in engine.seccomp_filters:
        machine = engine.host
        if choice == spec_security.BUILTIN:
            profile = seccomp_profile.docker_default(allowed, machine.machine, machine.kernel)
        else:
            profile = _custom_profile(choice, allowed, engine)
        if len(engine.seccomp_filters) > 64:  # custom profiles come from users and could be endless
            engine.seccomp_filters.clear()
        engine.seccomp_filters[key] = seccomp.compile_filter(profile, engine.paths.seccomp_cache)
    return engine.seccomp_filters[key]


def _custom_profile(text: str, allowed: tuple[str, ...], engine: Engine) -> dict[str, object]:
    try:
        document = msgspec.json.decode(text)
        if not isinstance(document, dict):
            raise ValueError("it is not an object")
        return seccomp_profile.resolve(document, allowed, engine.host.machine, engine.host.kernel)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from error
