"""The nftables table of one engine, as text: everything that it does to a packet, on one screen.

Only sets and maps ever change; the chains are written once. A published port is one element of one map. An
accept here cannot override the drop of another table, and a drop here holds whatever others accept: so the
table drops what no container asked for, and accepts nothing on the host's behalf. Nor does a host become a
router by it: what comes in by an interface that forwarded nothing before us goes to containers only. nft(8).
"""

from collections.abc import Iterable, Mapping

# A packet for one of the host's own addresses and a published port gets the container's address, whether it
# comes from outside, from another container (prerouting) or from the host itself (output). 127.0.0.0/8
# cannot be translated: an answer to it would never leave the container's namespace; there the relay serves.
CHAINS = """
    chain guard-loopback {
        type filter hook prerouting priority raw; policy accept;
        iifname != "lo" ip daddr 127.0.0.0/8 drop
    }
    chain publish {
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local meta l4proto { tcp, udp, sctp } jump translate
    }
    chain publish-to-self {
        type nat hook output priority -100; policy accept;
        ip daddr 127.0.0.0/8 return
        ip6 daddr ::1 return
        fib daddr type local meta l4proto { tcp, udp, sctp } jump translate
    }
    chain translate {
        dnat ip to ip daddr . meta l4proto . th dport map @published4
        dnat ip to meta l4proto . th dport map @published4-any
        dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6
        dnat ip6 to meta l4proto . th dport map @published6-any
    }
    chain hide-source {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr @masqueraded4 oifname != @bridges masquerade
        ip6 saddr @masqueraded6 oifname != @bridges masquerade
        ip saddr @subnets4 oifname @bridges ct status dnat masquerade
        ip6 saddr @subnets6 oifname @bridges ct status dnat masquerade
    }
    chain pass-by {
        meta nfproto ipv4 iifname @opened4 ct state new,invalid drop
        meta nfproto ipv6 iifname @opened6 ct state new,invalid drop
    }
    chain isolate {
        type filter hook forward priority filter; policy accept;
        iifname . oifname @same accept
        iifname @internal drop
        oifname @internal drop
        iifname != @bridges oifname != @bridges jump pass-by
        oifname != @bridges accept
        ct state established,related accept
        ct status dnat accept
        drop
    }
"""

SETS = {
    "bridges": "type ifname",
    "internal": "type ifname",
    "opened4": "type ifname",
    "opened6": "type ifname",
    "same": "type ifname . ifname",
    "subnets4": "type ipv4_addr; flags interval",
    "subnets6": "type ipv6_addr; flags interval",
    "masqueraded4": "type ipv4_addr; flags interval",
    "masqueraded6": "type ipv6_addr; flags interval",
}
MAPS = {
    "published4": "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
    "published4-any": "type inet_proto . inet_service : ipv4_addr . inet_service",
    "published6": "type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service",
    "published6-any": "type inet_proto . inet_service : ipv6_addr . inet_service",
}


def table(name: str, elements: Mapping[str, Iterable[str]]) -> str:
    """Return the commands that put the whole table in place of what there may be, in one transaction."""
    parts = [f"add table inet {name}", f"delete table inet {name}", f"table inet {name} {{"]
    for kind, definitions in (("set", SETS), ("map", MAPS)):
        for part, definition in definitions.items():
            present = ", ".join(elements.get(part, ()))
            filled = f"; elements = {{ {present} }}" if present else ""
            parts.append(f"    {kind} {part} {{ {definition}{filled}; }}")
    return "\n".join(parts) + CHAINS + "}\n"


def change(name: str, verb: str, elements: Mapping[str, Iterable[str]]) -> str:
    """Return the commands that add or delete elements, in one transaction."""
    listed = {part: ", ".join(these) for part, these in elements.items()}
    return "".join(
        f"{verb} element inet {name} {part} {{ {these} }}\n" for part, these in listed.items() if these
    )
