"""`./test`: ruff and mypy as whoever calls, then the tests as root, and one plain line of counts."""

import argparse
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from setup import client, environment, places, plan, privilege, vm

CHECKED = ("minidock", "setup", "bench")
MOST_AGAIN = 20  # more failures than this are no accident


def main(arguments: Sequence[str]) -> int:
    """Set up what is missing, run the checks and the tests, and return 0 when all of them passed."""
    options, rest = _parse(arguments)
    python = environment.resolve(options.python) if options.python else environment.base_python()
    if options.vm:
        _refuse_beside_vm(options)
        return vm.main(rest, python, options.rounds, options.soak)
    steps = plan.for_tests(python, options.oracles, options.fresh_machine)
    plan.carry_out(steps, "./test", "run the tests, which make real containers")
    target = places.test_environment(python)
    inner = str(target / "bin" / "python")
    checked = True if rest else _style(target, inner)
    passed = _tests(options, rest, target, inner)
    return 0 if checked and passed else 1


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="./test",
        allow_abbrev=False,
        description="Run ruff, mypy and the tests. Anything else goes to pytest (paths, -k WORDS, -x), "
        "and then only pytest runs.",
    )
    parser.add_argument(
        "--oracles", action="store_true", help="also ask dockerd, podman, runc and other judges"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="repeat every stress test at most N times")
    parser.add_argument(
        "--soak", action="store_true", help="repeat every stress test as often as its issue demands"
    )
    parser.add_argument(
        "--no-skips", action="store_true", help="a skipped test fails: this machine is to lack nothing"
    )
    parser.add_argument(
        "--fresh-machine", action="store_true", help="prove ./demo and ./test on a new minbase root"
    )
    parser.add_argument(
        "--vm",
        action="store_true",
        help="run the tests in a virtual machine, and those of a whole machine; a path says which",
    )
    parser.add_argument("--python", metavar="PATH", help="the Python to test with")
    return parser.parse_known_args(arguments)


def _refuse_beside_vm(options: argparse.Namespace) -> None:
    """Refuse what has no meaning in the machine, instead of leaving it out in silence."""
    given = [flag for flag in ("--oracles", "--no-skips", "--fresh-machine") if getattr(options, _name(flag))]
    if given:
        raise privilege.Refused(
            f"./test --vm does not take {' and '.join(given)}: the judges are not in the machine, and "
            "tests/vm/test_inside.py lists what a case may lack there."
        )


def _style(target: Path, inner: str) -> bool:
    """Run ruff and mypy, print one line for each, and tell whether both are content."""
    present = [name for name in CHECKED if (places.CHECKOUT / name).is_dir()]
    checks = {
        "ruff check": [inner, "-m", "ruff", "check", "--no-cache", "."],
        "ruff format": [inner, "-m", "ruff", "format", "--no-cache", "--check", "."],
        "mypy": [inner, "-m", "mypy", "--cache-dir", str(target / "mypy"), *present],
    }
    content = True
    for name, command in checks.items():
        answer = subprocess.run(command, cwd=places.CHECKOUT, capture_output=True, text=True, check=False)
        print(f"{name}: {'ok' if answer.returncode == 0 else 'FAILED'}", flush=True)
        if answer.returncode:
            print(answer.stdout + answer.stderr, flush=True)
            content = False
    return content


def _tests(options: argparse.Namespace, rest: Sequence[str], target: Path, inner: str) -> bool:
    """Run pytest as root, with --oracles against dockerd too, and print the counts."""
    folders = [name for name in (*CHECKED, "tests") if (places.CHECKOUT / name).is_dir()]
    compiled = [inner, "-m", "compileall", "-q", *folders]
    subprocess.run(compiled, cwd=places.CHECKOUT, stdout=subprocess.DEVNULL, check=False)
    passed = True
    if options.oracles and not rest:
        command = [*_pytest(options, inner, "dockerd"), str(places.CHECKOUT / "tests" / "api")]
        print("\nThe api tests against dockerd:", flush=True)
        passed = _run([inner, "-m", "bench.dockerd", *command], "dockerd")
        if not passed:
            again = [inner, "-m", "bench.dockerd", *_pytest(options, inner, "dockerd")]
            passed = _alone(again, "dockerd")
        print("\nAll tests against minidock:", flush=True)
    command = _pytest(options, inner, "minidock")
    return (_run([*command, *rest], "minidock") or _alone(command, "minidock")) and passed


def _pytest(options: argparse.Namespace, inner: str, subject: str) -> list[str]:
    """Return pytest's command line; loadgroup keeps the cases of an xdist_group on one worker, in order."""
    command = [inner, "-m", "pytest", "-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=failed"]
    command += ["-n", "auto", "--dist", "loadgroup", f"--junitxml={_results(subject)}"]
    if options.rounds is not None:
        command += ["--rounds", str(options.rounds)]
    flags = ("--oracles", "--soak", "--no-skips", "--fresh-machine")
    return command + [flag for flag in flags if getattr(options, _name(flag))]


def _run(command: Sequence[str], subject: str) -> bool:
    """Run a command as root, print the counts that it left, and tell whether it succeeded."""
    results = _results(subject)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    docker = client.find() or ""
    folders = [os.environ.get("PATH", os.defpath), "/usr/local/sbin:/usr/sbin:/sbin", os.path.dirname(docker)]
    variables = {
        "PATH": ":".join(filter(None, folders)),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(places.cache() / "hypothesis"),
    }
    code = subprocess.run(privilege.as_root(command, variables), cwd=places.CHECKOUT, check=False).returncode
    if results.exists():
        print(counts(results), flush=True)
    return code == 0


def _alone(command: Sequence[str], subject: str) -> bool:
    """Run what failed once more, one after another, and say so: tests of races and time-outs share the cores
    with each other. What fails twice has failed.
    """
    failed = failed_cases(_results(subject))
    if not failed or len(failed) > MOST_AGAIN:
        return False
    print(f"\n{len(failed)} cases failed; once more, alone:", *failed, sep="\n  ", flush=True)
    return _run([*command, "-n", "0", *failed], subject)


def failed_cases(results: Path) -> list[str]:
    """Return the cases of a junit file that failed, as pytest names them; none if a whole module did."""
    if not results.exists():
        return []
    found = []
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        if case.find("failure") is None and case.find("error") is None:
            continue
        path = Path(*case.get("classname", "").split(".")).with_suffix(".py")
        if not (places.CHECKOUT / path).is_file():
            return []
        found.append(f"{path}::{case.get('name')}")
    return found


def _results(subject: str) -> Path:
    return places.cache() / "results" / f"{subject}.xml"


def _name(flag: str) -> str:
    return flag.strip("-").replace("-", "_")


def counts(results: Path) -> str:
    """Return pytest's counts as one plain line."""
    suites = list(ElementTree.parse(results).getroot().iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites)
        for name in ("tests", "failures", "errors", "skipped")
    )
    passed = total - failures - errors - skipped
    return f"{passed} passed, {failures + errors} failed, {skipped} skipped ({results})"
