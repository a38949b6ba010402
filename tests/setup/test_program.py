"""The root-owned copy and its launchers, in a mount namespace in which /opt and /usr/local/bin are empty."""

import json
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]
ENTER = 'mount -t tmpfs t /opt && mount -t tmpfs t /usr/local/bin && exec "$1" -B -c "$2"'
MAKE = """
import os, subprocess, sys
from setup import places, program, record
places.SYSTEM.mkdir()
subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", places.ENVIRONMENT], check=True)
"""


def inside(code: str) -> str:
    answer = subprocess.run(
        ["unshare", "--mount", "sh", "-c", ENTER, "sh", sys.executable, MAKE + code],
        capture_output=True,
        text=True,
        check=False,
        cwd=TOP,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_the_copy_runs_by_its_link_from_anywhere_and_is_roots() -> None:
    shown = inside("""
program.install()
os.chdir("/")
subprocess.run(["minidock", "--version"], env={"PATH": "/usr/local/bin"}, check=True)
found = [os.stat(os.path.join(top, name)) for top, _, names in os.walk("/opt/minidock") for name in names]
print({state.st_uid for state in found}, {state.st_mode & 0o022 for state in found}, program.is_current())
""")
    version, facts = shown.splitlines()
    assert version.startswith("Minidock version ")
    assert facts == "{0} {0} True"


def test_a_changed_copy_record_is_noticed_and_renewed() -> None:
    shown = inside("""
program.install()
known = record.read(); known.source = "of yesterday"; record.write(known)
print(program.is_current())
program.install()
print(program.is_current(), list(places.ENVIRONMENT.rglob("minidock.old")) == [])
""")
    assert shown.split() == ["False", "True", "True"]


def test_a_foreign_command_of_the_same_name_is_not_overwritten() -> None:
    shown = inside("""
from setup.privilege import Refused
open("/usr/local/bin/minidock", "w").write("somebody's own")
try:
    program.install()
except Refused as error:
    print(error)
print(open("/usr/local/bin/minidock").read(), record.read().links)
""")
    assert shown.splitlines() == [
        "/usr/local/bin/minidock exists and is not ours: move it away, then run this again.",
        "somebody's own []",
    ]


def test_the_record_is_readable_json() -> None:
    shown = inside("""
program.install()
print(places.RECORD.read_text())
""")
    known = json.loads(shown)
    assert known["links"] == ["/usr/local/bin/minidock", "/usr/local/bin/minidock-runc"]
    assert known["packages"] == []
