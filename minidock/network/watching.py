"""Noticing that somebody changes the host's rules: Docker that starts, an administrator who flushes.

The kernel tells every change of nftables to who listens. What follows is done once for a burst of them, and
our own changes are told too: whoever is called must find quickly that nothing is amiss. netlink(7),
nfnetlink.h.
"""

import errno
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)
NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
QUIET = 0.3  # seconds between a change and the look at it: one transaction is many messages


class RuleWatch:
    """One thread that calls `changed` after the rules of its namespace have changed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Begin; in the namespace of the calling thread. OSError."""
        self._changed = changed
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        try:
            self._channel.bind((0, 0))
            self._channel.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
            self._channel.setblocking(False)
        except OSError:
            self._channel.close()
            os.close(self._stop)
            raise
        self._thread = threading.Thread(target=self._run, name="rules", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._channel.close()
        os.close(self._stop)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        poll.register(self._channel, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._stop in ready:
                return
            time.sleep(QUIET)
            self._forget_messages()
            try:
                self._changed()
            except Exception:
                log.exception("the rules cannot be repaired")

    def _forget_messages(self) -> None:
        while True:
            try:
                self._channel.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # that some were lost only means that there were many
                    raise
