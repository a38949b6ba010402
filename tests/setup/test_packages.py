"""Which Debian packages are missing, and which may be removed again."""

import re
import shutil
from pathlib import Path

import pytest

from setup import packages

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-query") is None, reason="no Debian package tools on this machine"
)


def test_the_essential_packages_are_seen_as_installed() -> None:
    assert {"dpkg", "bash", "coreutils"} <= packages.installed()
    assert "no-such-package" not in packages.installed()


def test_what_the_tests_run_on_lacks_nothing() -> None:
    assert packages.missing() == []


def test_a_package_that_others_need_is_kept() -> None:
    removed, kept = packages.removable(["libc6"])
    assert (removed, kept) == ([], ["libc6"])


def test_a_recorded_package_that_is_gone_already_is_not_removed_again() -> None:
    assert packages.removable(["no-such-package"]) == ([], [])


def test_every_judge_that_a_test_asks_is_installed_on_request() -> None:
    sources = [path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py")]
    marks = [found for source in sources for found in re.findall(r"mark\.oracle\(([^)]*)\)", source)]
    asked = {program for mark in marks for program in re.findall(r'"([^"]+)"', mark)}
    assert {"dockerd", "skopeo"} <= asked
    assert asked - set(packages.ORACLES) == {"docker"}  # the client, which every ./test sets up
    assert packages.ROOT_BUILDER.items() <= packages.ORACLES.items()
