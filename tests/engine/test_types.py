"""What msgspec knows of our types: everything, before a second thread can ask for anything."""

import subprocess
import sys

# Eight threads decode a type for the first time at once; whether that ends the interpreter is chance, so
# what shows it is many tries, each in a process of its own.
RACE = """
import sys, threading
sys.setswitchinterval(1e-6)
import msgspec
from minidock.engine import engine
from minidock.runtime import bundle
{prepare}
document = b'{{"process": {{"args": ["x"]}}, "linux": {{"resources": {{"memory": {{"limit": 5}}}}}}}}'
barrier = threading.Barrier(8)
def decode():
    barrier.wait()
    msgspec.json.decode(document, type=bundle.Spec)
threads = [threading.Thread(target=decode) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def status(prepare: str) -> int:
    command = [sys.executable, "-c", RACE.format(prepare=prepare)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


def test_threads_may_decode_at_once_from_the_start() -> None:
    assert {status("engine._prepare_types()") for _ in range(10)} == {0}
