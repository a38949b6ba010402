"""The names of containers: what a name may be, who has it, and names for those who did not choose one.

A name is reserved before the container exists and released after it is gone, so two creates at once never
share it. The words are our own; the form is Docker's (adjective_surname), because scripts match it.
"""

import re
import secrets
import threading

from minidock.errors import Conflict, InvalidParameter

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")

ADJECTIVES = (
    "agile amber ample brave breezy bright brisk calm candid careful cheery civil clear clever cosy crisp "
    "curious daring deft diligent eager earnest easy fair fearless fluent fond frank fresh gentle glad "
    "graceful handy hardy helpful honest humble keen kind lively loyal lucid mellow merry mild modest "
    "neat nimble noble patient plucky polite prompt proud quick quiet ready robust serene sharp simple "
    "sincere sleek smooth snappy sober spirited steady sturdy subtle sunny sure swift tidy upbeat vivid "
    "warm wise witty zesty"
)

SURNAMES = (
    "abel antonelli avogadro bartik bernoulli boole braun bush cannon cantor cauchy cerf clark cocke codd "
    "conway cray davies dijkstra dolby eckert engelbart erdos estrin euler fermat feinler floyd fourier "
    "galois gauss germain godel goldstine hamming hilbert hoare hollerith holberton huffman iverson "
    "jacquard kahn kay kernighan kilburn kleene knuth lamport laplace leibniz liskov lorenz markov "
    "mauchly mccarthy mcnulty meitner metcalfe milner minsky naur newell noether pascal perlis postel "
    "randell ritchie rossum sammet shannon simon spence stibitz strachey sutherland tanenbaum thompson "
    "torvalds tukey turing ulam wilkes wing wirth wozniak zuse"
)


def check(name: str) -> str:
    """Return `name` without its leading slash; InvalidParameter in Docker's words when it is not a name."""
    if not _NAME.match(name):
        raise InvalidParameter(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name.removeprefix("/")


def random_name() -> str:
    """Return a name nobody chose, such as `patient_hamming`."""
    return f"{secrets.choice(ADJECTIVES.split())}_{secrets.choice(SURNAMES.split())}"


class NameTable:
    """Which container has which name. Safe to use from any thread."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._lock = threading.Lock()

    def reserve(self, name: str, identifier: str) -> None:
        """Give `name` to the container; Conflict in Docker's words when another has it."""
        with self._lock:
            owner = self._owners.setdefault(name, identifier)
        if owner != identifier:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )

    def reserve_random(self, identifier: str) -> str:
        """Reserve and return a name nobody has: a digit is added when six draws were taken."""
        with self._lock:
            for attempt in range(1_000_000):
                name = random_name() + ("" if attempt < 6 else str(attempt - 6))
                if name not in self._owners:
                    self._owners[name] = identifier
                    return name
        raise Conflict("no free container name was found")

    def release(self, name: str, identifier: str) -> None:
        """Take `name` back if the container still has it; does nothing otherwise."""
        with self._lock:
            if self._owners.get(name) == identifier:
                del self._owners[name]

    def owner(self, name: str) -> str | None:
        """Return the id of the container called `name`."""
        return self._owners.get(name)
