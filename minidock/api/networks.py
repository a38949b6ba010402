"""Routes of networks: Docker's parameters and bodies in, the engine's verbs called."""

from minidock.api.exchange import Exchange, Reply, json_reply, no_content
from minidock.api.wire import from_wire, to_wire
from minidock.engine import connecting, network_verbs
from minidock.engine.engine import Engine
from minidock.engine.model import EndpointConfig
from minidock.engine.network_model import ConnectRequest, NetworkRequest
from minidock.errors import InvalidParameter


def list_all(engine: Engine, exchange: Exchange) -> Reply:
    """GET /networks: `docker network ls`."""
    return json_reply(to_wire(network_verbs.list_all(engine, exchange.query.filters())))


def inspect(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """GET /networks/{name}; `scope` other than local finds nothing, `verbose` has nothing to add."""
    return json_reply(to_wire(network_verbs.inspect(engine, name)))


def create(engine: Engine, exchange: Exchange) -> Reply:
    """POST /networks/create; fields that are not known are told in the warning."""
    request, unknown = from_wire(NetworkRequest, exchange.json())
    created = network_verbs.create(engine, request)
    if unknown:
        created.warning = (
            f"These fields are not known to this engine and have no effect: {', '.join(unknown)}"
        )
    return json_reply(to_wire(created), 201)


def remove(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """DELETE /networks/{name}."""
    network_verbs.remove(engine, name)
    return no_content()


def connect(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /networks/{name}/connect."""
    request = _request(exchange)
    connecting.connect(engine, name, request.container, request.endpoint_config or EndpointConfig())
    return no_content(200)


def disconnect(engine: Engine, exchange: Exchange, name: str) -> Reply:
    """POST /networks/{name}/disconnect."""
    request = _request(exchange)
    connecting.disconnect(engine, name, request.container, request.force)
    return no_content(200)


def prune(engine: Engine, exchange: Exchange) -> Reply:
    """POST /networks/prune."""
    return json_reply({"NetworksDeleted": network_verbs.prune(engine, exchange.query.filters()) or None})


def _request(exchange: Exchange) -> ConnectRequest:
    request, _ = from_wire(ConnectRequest, exchange.json())
    if not request.container:
        raise InvalidParameter("the request names no container")
    return request
