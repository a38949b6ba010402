"""`./demo` and `./test` as commands: what they say when they cannot do their work."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def copy() -> Iterator[Path]:
    """Yield a checkout that everybody may read, as far as the two commands need it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        top = Path(folder)
        for name in ("demo", "test", "pyproject.toml"):
            shutil.copy2(TOP / name, top / name)
        for name in ("setup", "minidock"):
            shutil.copytree(TOP / name, top / name, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", folder], check=True)
        yield top


def as_nobody(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env", "-i"]
    settings = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **variables}
    return subprocess.run(
        [*words, *(f"{name}={value}" for name, value in settings.items()), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["demo", "test"])
def test_without_root_or_sudo_one_sentence_says_so(command: str, copy: Path) -> None:
    answer = as_nobody(str(copy / command), PYTHON="/usr/bin/python3", XDG_CACHE_HOME=f"{copy}/cache")
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith(f"./{command} needs root")
    assert not (copy / "cache").exists()


@pytest.mark.parametrize("command", ["demo", "test"])
def test_without_python_one_sentence_says_so(command: str, copy: Path) -> None:
    answer = as_nobody(str(copy / command), PYTHON="no-such-python")
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        f"./{command} needs Python 3.11 or later, and there is no no-such-python on this machine "
        "(Debian: apt-get install python3)."
    ]


def test_a_python_that_is_too_old_is_told_apart_from_a_broken_one(copy: Path) -> None:
    """The file that says so is run by any `python3`, so it may use nothing newer than its message."""
    pretend = (
        "import runpy, sys; sys.version_info = (3, 9, 2); sys.argv[0] = sys.argv[1]; "
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    answer = as_nobody("/usr/bin/python3", "-B", "-c", pretend, str(copy / "setup"))
    assert answer.returncode == 1
    assert answer.stderr.startswith("minidock needs Python 3.11 or later, but /usr/bin/python3 is ")
    assert len(answer.stderr.splitlines()) == 1


def test_what_has_no_meaning_in_the_virtual_machine_is_refused() -> None:
    words = [str(TOP / "test"), "--vm", "--oracles", "--no-skips"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("./test --vm does not take --oracles and --no-skips: ")


@pytest.mark.parametrize("command", ["demo", "test"])
def test_help_names_every_option(command: str) -> None:
    answer = subprocess.run([TOP / command, "--help"], capture_output=True, text=True, check=True)
    wanted = {
        "demo": ("--uninstall", "--data", "--force", "--setup-only"),
        "test": ("--oracles", "--rounds", "--soak", "--no-skips"),
    }[command]
    assert all(option in answer.stdout for option in (*wanted, "--python"))


@pytest.mark.parametrize("option", ["--data", "--force"])
def test_an_option_of_uninstall_without_it_is_refused(option: str) -> None:
    answer = subprocess.run([TOP / "demo", option], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert f"{option} goes with --uninstall" in answer.stderr


def test_the_two_commands_are_plain_sh() -> None:
    for command in ("demo", "test"):
        subprocess.run(["sh", "-n", TOP / command], check=True)
        subprocess.run(["bash", "--posix", "-n", TOP / command], check=True)
    subprocess.run(["bash", "-n", TOP / ".ci" / "run"], check=True)


def test_set_up_imports_nothing_but_the_standard_library() -> None:
    """It runs before there is an environment."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import setup.command; print(sorted(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code, str(TOP)], capture_output=True, text=True, check=True
    )
    assert "'minidock'" not in answer.stdout
