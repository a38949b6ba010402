"""Which addresses are handed out, and in which order."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import Conflict, InvalidParameter, MinidockError
from minidock.network import addresses
from minidock.network.addresses import Pool, free_subnet, parse_subnet

SMALL = parse_subnet("10.0.0.0/29")
GATEWAY = ipaddress.ip_address("10.0.0.1")


def taken(pool: Pool, number: int) -> list[str]:
    return [str(pool.allocate()) for _ in range(number)]


def test_network_broadcast_and_gateway_are_never_handed_out() -> None:
    assert taken(Pool(SMALL, GATEWAY), 5) == [f"10.0.0.{host}" for host in range(2, 7)]


def test_a_freed_address_comes_back_last() -> None:
    pool = Pool(SMALL, GATEWAY)
    (first,) = taken(pool, 1)
    pool.release(ipaddress.ip_address(first))
    assert taken(pool, 5) == [*(f"10.0.0.{host}" for host in range(3, 7)), first]


def test_an_exhausted_pool_says_so_and_one_freed_address_is_found() -> None:
    pool = Pool(SMALL, GATEWAY)
    taken(pool, 5)
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        pool.allocate()
    pool.release(ipaddress.ip_address("10.0.0.4"))
    assert taken(pool, 1) == ["10.0.0.4"]


def test_a_range_limits_what_is_handed_out_but_not_what_is_asked_for() -> None:
    pool = Pool(SMALL, GATEWAY, parse_subnet("10.0.0.4/31"))
    assert taken(pool, 2) == ["10.0.0.4", "10.0.0.5"]
    pool.take(ipaddress.ip_address("10.0.0.6"))
    with pytest.raises(Conflict):
        pool.allocate()


@pytest.mark.parametrize(
    ("address", "error"),
    [("10.0.1.2", InvalidParameter), ("10.0.0.1", Conflict), ("10.0.0.7", InvalidParameter)],
)
def test_an_address_that_cannot_be_given_is_refused(address: str, error: type[MinidockError]) -> None:
    with pytest.raises(error):
        Pool(SMALL, GATEWAY).take(ipaddress.ip_address(address))


def test_no_address_is_given_twice() -> None:
    pool = Pool(SMALL, GATEWAY)
    pool.take(ipaddress.ip_address("10.0.0.2"))
    with pytest.raises(Conflict, match="Address already in use"):
        pool.take(ipaddress.ip_address("10.0.0.2"))
    assert taken(pool, 1) == ["10.0.0.3"]


def test_what_runs_after_a_restart_keeps_its_address() -> None:
    pool = Pool(SMALL, GATEWAY)
    pool.occupy(ipaddress.ip_address("10.0.0.3"))
    assert taken(pool, 4) == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]


@given(st.lists(st.integers(0, 5), max_size=60))
def test_addresses_in_use_are_always_different(releases: list[int]) -> None:
    pool = Pool(SMALL, GATEWAY)
    held: list[addresses.Address] = []
    for number in releases:
        if number < len(held):
            pool.release(held.pop(number))
        elif len(held) < 5:
            held.append(pool.allocate())
    assert len(set(held)) == len(held)


def test_a_free_subnet_overlaps_nothing_that_is_taken() -> None:
    assert str(free_subnet([])) == "172.17.0.0/16"
    assert str(free_subnet([parse_subnet("172.16.0.0/12")])) == "192.168.0.0/20"
    with pytest.raises(MinidockError, match="fully subnetted"):
        free_subnet([parse_subnet("0.0.0.0/1"), parse_subnet("128.0.0.0/1")])


@pytest.mark.parametrize("text", ["10.0.0.0/33", "x", "10.0.0.1/24"])
def test_a_bad_subnet_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidParameter, match=f"invalid subnet {text}"):
        parse_subnet(text)


def test_a_mac_address_carries_the_ip_address() -> None:
    assert addresses.mac_of(ipaddress.ip_address("172.17.0.2")) == "02:42:ac:11:00:02"
