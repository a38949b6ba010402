"""Log drivers: which there are, what their options mean, and what `logs --details` adds to a line.

`local` is, as in Docker, the driver whose files nobody else reads; here it is the json-file log with local's
defaults. The attributes of --details are the same for every line of a container, so they are computed when
somebody asks and stored nowhere. Docker's json-file and local logging drivers.
"""

import re
from urllib.parse import quote

from minidock.engine.model import ContainerConfig, HostConfig
from minidock.errors import InvalidParameter, Unsupported

READABLE = ("json-file", "local")
NONE = "none"
ALL = (*READABLE, NONE)
ATTRIBUTES = frozenset({"labels", "labels-regex", "env", "env-regex"})
_OPTIONS = frozenset({"max-size", "max-file", "compress", "mode", "max-buffer-size"}) | ATTRIBUTES
_DEFAULTS = {"local": ("20m", "5")}
_OTHERS = frozenset(["syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs"])
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmgt]?)b?", re.IGNORECASE)


def options(host: HostConfig) -> tuple[int, int]:
    """Return (max size in bytes, max files) of the log; raises for other drivers and options."""
    driver, given = host.log_config.type or "json-file", host.log_config.config or {}
    if driver in _OTHERS:
        raise Unsupported(f"logger: log driver '{driver}' is not supported (json-file, local and none are)")
    if driver not in ALL:
        raise InvalidParameter(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    for name, value in given.items():
        if name not in _OPTIONS:
            raise InvalidParameter(f"unknown log opt '{name}' for {driver} log driver")
        if name.endswith("-regex"):
            _pattern(value)
    if driver == "json-file" and given.get("compress", "false").lower() not in ("false", "0", ""):
        raise Unsupported("log opt 'compress' is not supported: rotated files stay readable as they are")
    mode = given.get("mode") or "blocking"
    if mode not in ("blocking", "non-blocking"):
        raise InvalidParameter(f"logger: logging mode not supported: {mode}")
    if mode == "non-blocking":
        raise Unsupported("log opt 'mode=non-blocking' is not supported: no line may be lost")
    return _limits(given, *_DEFAULTS.get(driver, ("10m", "3")))


def attributes(config: ContainerConfig, host: HostConfig) -> str:
    """Return what `--details` writes before each line: the chosen labels and variables, as a=b,c=d."""
    given = host.log_config.config or {}
    variables = dict(entry.partition("=")[::2] for entry in config.env or ())
    found: dict[str, str] = {}
    for option, values in (("labels", config.labels or {}), ("env", variables)):
        names = set(filter(None, given.get(option, "").split(",")))
        pattern = _pattern(given[f"{option}-regex"]) if given.get(f"{option}-regex") else None
        found |= {
            name: value
            for name, value in values.items()
            if name in names or (pattern is not None and pattern.search(name))
        }
    return ",".join(f"{quote(name, safe='')}={quote(found[name], safe='')}" for name in sorted(found))


def _limits(given: dict[str, str], default_size: str, default_files: str) -> tuple[int, int]:
    size, files = given.get("max-size", default_size), given.get("max-file", default_files)
    match = _SIZE.fullmatch(size)
    if size != "-1" and (not match or not float(match[1])):
        raise InvalidParameter(f"invalid size: '{size}'")
    if not files.isdecimal() or int(files) < 1:
        raise InvalidParameter(f"max-file cannot be less than 1: '{files}'")
    factor = 1000 ** " kmgt".index(match[2].lower() or " ") if match else 0
    return (int(float(match[1]) * factor) if match else 0), int(files)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidParameter(f"invalid regular expression in a log opt: {text!r}: {error}") from None
