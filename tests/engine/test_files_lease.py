"""The tree lease: readers together, a writer alone, and a waiting writer before new readers."""

import threading

from minidock.engine.files_lease import TreeLease

PATIENCE = 10.0


def test_readers_share_and_a_writer_waits_for_them() -> None:
    lease, written = TreeLease(), threading.Event()

    def write() -> None:
        with lease.exclusive():
            written.set()

    with lease.shared():
        with lease.shared():
            writer = threading.Thread(target=write)
            writer.start()
        assert not written.wait(0.05)
    assert written.wait(PATIENCE)
    writer.join()


def test_a_waiting_writer_keeps_new_readers_out() -> None:
    lease, order = TreeLease(), []
    began = threading.Event()

    def write() -> None:
        began.set()
        with lease.exclusive():
            order.append("writer")

    def read() -> None:
        with lease.shared():
            order.append("reader")

    with lease.shared():
        writer = threading.Thread(target=write)
        writer.start()
        began.wait(PATIENCE)
        while not lease._waiting:
            pass
        reader = threading.Thread(target=read)
        reader.start()
    writer.join()
    reader.join()
    assert order == ["writer", "reader"]


def test_the_writer_may_take_it_again() -> None:
    lease = TreeLease()
    with lease.exclusive(), lease.exclusive():
        pass
    with lease.shared():
        pass
