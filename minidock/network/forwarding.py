"""Living beside a firewall that drops what is forwarded: Docker's, or an administrator's.

An accept in our own table cannot override another table's drop. So where the host has a chain `FORWARD` with
policy drop in `ip filter` or `ip6 filter` (iptables' tables), two accept rules a bridge go into it, or into
`DOCKER-USER`, which Docker keeps for such rules; our own table still drops what no container asked for. The
rules carry a comment that names our table, and leave with it. nft(8), iptables-nft(8).
"""

import re
from collections.abc import Callable, Collection

Run = Callable[[str], str]
FAMILIES = ("ip", "ip6")
_RULE = re.compile(r'[io]ifname "([^"]+)".* accept comment "([^"]+)" # handle (\d+)')


def allow(run: Run, owner: str, bridges: Collection[str]) -> None:
    """Make the accept rules of `owner` exactly those for `bridges`, where they are needed. OSError."""
    commands = ""
    for family in FAMILIES:
        chain = _chain(run, family)
        present = _present(run, family, owner)
        seen: dict[str, int] = {}
        for place, bridge, handle in present:
            if place == chain and bridge in bridges:
                seen[bridge] = seen.get(bridge, 0) + 1
            if place != chain or bridge not in bridges or seen[bridge] > len(("iif", "oif")):
                commands += f"delete rule {family} filter {place} handle {handle}\n"
        for bridge in bridges if chain else ():
            if seen.get(bridge, 0) == 0:
                for side in ("iifname", "oifname"):
                    commands += (
                        f'insert rule {family} filter {chain} {side} "{bridge}" counter accept '
                        f'comment "{owner}"\n'
                    )
    if commands:
        run(commands)


def _chain(run: Run, family: str) -> str:
    """Return the chain that the rules belong into; "" where nothing is dropped."""
    text = _listed(run, family, "FORWARD")
    if "policy drop" not in text:
        return ""
    return "DOCKER-USER" if _listed(run, family, "DOCKER-USER") else "FORWARD"


def _present(run: Run, family: str, owner: str) -> list[tuple[str, str, str]]:
    """Return (chain, bridge, rule handle) of the owner's rules."""
    found = []
    for chain in ("FORWARD", "DOCKER-USER"):
        for bridge, comment, number in _RULE.findall(_listed(run, family, chain)):
            if comment == owner:
                found.append((chain, bridge, number))
    return found


def _listed(run: Run, family: str, chain: str) -> str:
    try:
        return run(f"list chain {family} filter {chain}")
    except OSError:
        return ""  # there is no such chain
