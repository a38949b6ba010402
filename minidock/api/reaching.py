"""Can a registry be reached? Ask it, and name the step that failed: DNS, network, TLS or the registry itself.

OCI distribution specification, "Determining Support": GET /v2/.
"""

import urllib3
from urllib3 import exceptions

CONNECT_TIMEOUT = 4.0


def probe(registry: str) -> tuple[bool, str]:
    """Ask `registry` for `/v2/`; return whether it answered as a registry, and a sentence that says so."""
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=CONNECT_TIMEOUT)
    with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
        try:
            response = _ask(pool, registry)
        except exceptions.NameResolutionError as error:
            return False, f"DNS failed: the name {registry} was not resolved ({_cause(error)})"
        except exceptions.SSLError as error:
            return False, f"TLS failed: {registry} was reached, but cannot be trusted ({_cause(error)})"
        except exceptions.NewConnectionError as error:
            return False, f"the network failed: no connection to {registry} ({_cause(error)})"
        except exceptions.ConnectTimeoutError:
            return False, f"the network failed: no answer from {registry} within {CONNECT_TIMEOUT:g} s"
        except (exceptions.HTTPError, OSError, ValueError) as error:
            return False, f"the registry failed: {registry} was reached, but did not answer ({_cause(error)})"
    if response.status in (200, 401):
        return True, f"the registry {registry} answers"
    return (
        False,
        f"the registry failed: {registry} answered {response.status} {response.reason or ''}".rstrip(),
    )


def _ask(pool: urllib3.PoolManager, registry: str) -> urllib3.BaseHTTPResponse:
    """Ask over TLS; a registry on this machine may, as in Docker, answer without it."""
    try:
        return pool.request("GET", f"https://{registry}/v2/", redirect=False)
    except exceptions.SSLError:
        if registry.partition(":")[0] not in ("localhost", "127.0.0.1"):
            raise
        return pool.request("GET", f"http://{registry}/v2/", redirect=False)


def _cause(error: BaseException) -> str:
    """Return the innermost words of an error: urllib3 wraps the interesting one several times."""
    inner = error.__cause__ or error.__context__ or (error.args[0] if error.args else None)
    if isinstance(inner, BaseException) and inner is not error:
        return _cause(inner)
    return (getattr(error, "strerror", None) or str(error)).strip()
