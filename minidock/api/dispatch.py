"""From one request to one answer: version, route, call; the only place where an exception becomes a reply."""

import logging
import platform
from urllib.parse import unquote

import h11

from minidock import __version__
from minidock.api import negotiation, ways_in
from minidock.api.connection import Connection, Head
from minidock.api.exchange import Exchange, Reply
from minidock.api.faults import error_reply, status_of
from minidock.api.query import Query
from minidock.api.routes import Router
from minidock.engine.engine import Engine
from minidock.errors import InvalidParameter, MinidockError

log = logging.getLogger(__name__)


class Dispatcher:
    """Answers requests on behalf of one engine."""

    def __init__(self, engine: Engine, router: Router) -> None:
        self._engine = engine
        self._router = router
        self._headers = (
            ("Api-Version", negotiation.spell(negotiation.CURRENT)),
            ("Docker-Experimental", "false"),
            ("Ostype", "linux"),
            ("Server", f"Minidock/{__version__} ({platform.system().lower()})"),
        )

    def serve(self, connection: Connection) -> None:
        """Serve the connection until it ends or its socket is given away."""
        while True:
            try:
                head = connection.read_head()
            except (h11.RemoteProtocolError, InvalidParameter, TimeoutError) as error:
                self._refuse(connection, error)
                return
            if head is None:
                return
            exchange = self._exchange(connection, head)
            self._answer(connection, exchange)
            if exchange.hijacked or not connection.next_cycle():
                return

    def _exchange(self, connection: Connection, head: Head) -> Exchange:
        target, _, query = head.target.partition("?")
        if target.startswith(("http://", "https://")):
            target = "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
        exchange = Exchange(connection, head, negotiation.CURRENT, unquote(target), Query(query))
        exchange.add_common_headers(self._headers)
        return exchange

    def _answer(self, connection: Connection, exchange: Exchange) -> None:
        try:
            if connection.is_remote:
                ways_in.check_request(exchange.head.headers, connection.is_verified)
            exchange.version, exchange.path = negotiation.split_version(exchange.path)
            function, arguments = self._router.find(exchange.head.method, exchange.path)
            reply = function(self._engine, exchange, *arguments)
            if reply is not None:
                exchange.reply(reply)
        except ConnectionError:
            raise
        except Exception as error:
            if exchange.answered:
                log.warning("%s %s broke off: %s", exchange.head.method, exchange.path, error)
                raise ConnectionAbortedError("the answer broke off") from error
            self._answer_error(exchange, error)

    def _answer_error(self, exchange: Exchange, error: Exception) -> None:
        status = status_of(error)
        if status == 500:
            expected = isinstance(error, MinidockError)
            log.error(
                "%s %s: %s", exchange.head.method, exchange.path, error, exc_info=None if expected else error
            )
        else:
            log.debug("%s %s: %d %s", exchange.head.method, exchange.path, status, error)
        exchange.reply(error_reply(error, exchange.version))

    def _refuse(self, connection: Connection, error: Exception) -> None:
        """Answer what was not a request, if the client can still be answered; the connection then closes."""
        reply: Reply = error_reply(error, negotiation.CURRENT)
        headers = [*self._headers, ("Content-Type", reply.content_type or ""), ("Connection", "close")]
        headers.append(("Content-Length", str(len(reply.body))))
        try:
            connection.send_all(reply.status, "Bad Request", headers, reply.body)
        except (OSError, h11.LocalProtocolError) as failure:
            log.debug("could not refuse a client: %s", failure)
