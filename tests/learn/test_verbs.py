"""`minidock learn` and `minidock doctor` from the command line, in a folder of their own."""

import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minidock.cli.learn import VERBS
from minidock.errors import Unavailable
from minidock.learn import advice, breaking, chapters, mutants, source, verbs
from minidock.learn.folder import Folder

MINIDOCK = [sys.executable, "-c", "from minidock.cli.main import run_and_exit; run_and_exit()"]


def learn(folder: Path, *words: str, given: str = "", home: bool = False) -> subprocess.CompletedProcess[str]:
    verb, *rest = words
    cut = rest.index("--") if "--" in rest else len(rest)
    command = [*MINIDOCK, "learn", verb, *rest[:cut], "--folder", str(folder), *rest[cut:]]
    # A reader's Python keeps back what is printed into a pipe.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, env=environment)


def solve(folder: Path, number: int) -> Path:
    chapter = chapters.chapter(number)
    path = folder / f"{chapter.name}.py"
    folder.mkdir(exist_ok=True)
    path.write_text(source.solution(chapter))
    return path


def test_the_list_shows_all_sixteen_chapters(tmp_path: Path) -> None:
    answer = learn(tmp_path, "list")
    assert answer.returncode == 0
    assert [f"  {number:2}  " for number in range(17) if f"  {number:2}  " not in answer.stdout] == []
    assert "not written yet" in answer.stdout


def test_start_never_overwrites(tmp_path: Path) -> None:
    assert learn(tmp_path, "start", "1").returncode == 0
    path = tmp_path / "01-a-process.py"
    assert "NotImplementedError" in path.read_text()
    path.write_text("mine")
    answer = learn(tmp_path, "start", "1")
    assert answer.returncode == 1
    assert "stays as it is" in answer.stderr
    assert path.read_text() == "mine"


def test_a_chapter_that_is_not_written_is_named(tmp_path: Path) -> None:
    answer = learn(tmp_path, "start", "9")
    assert answer.returncode == 1
    assert "there is no chapter 9 yet (planned: pull)" in answer.stderr


@pytest.mark.parametrize("verb", ["start", "check", "predict", "figure"])
def test_chapter_0_is_there_and_has_nothing_to_grade(tmp_path: Path, verb: str) -> None:
    answer = learn(tmp_path, verb, "0")
    assert answer.returncode == 1
    assert answer.stderr.startswith("chapter 0 has nothing to write or to grade: read its page, ")
    assert Path(answer.stderr.split()[-1]).is_file()


def test_check_fails_then_passes_and_the_list_knows(tmp_path: Path) -> None:
    learn(tmp_path, "start", "1")
    answer = learn(tmp_path, "check", "1")
    assert answer.returncode == 1
    assert "is not written yet" in answer.stdout
    solve(tmp_path, 1)
    answer = learn(tmp_path, "check")
    assert answer.returncode == 0, answer.stdout
    assert "12 of 12 checks hold" in answer.stdout
    assert " passed\n" in learn(tmp_path, "list").stdout


def test_what_has_passed_once_stays_visible(tmp_path: Path) -> None:
    path = solve(tmp_path, 2)
    assert learn(tmp_path, "check", "--only", "2").returncode == 0
    path.write_text("def f(:\n")
    assert learn(tmp_path, "check", "--only", "2").returncode == 1
    assert "passed, now failing" in learn(tmp_path, "list").stdout
    solve(tmp_path, 2)
    assert learn(tmp_path, "check", "--only", "2").returncode == 0
    assert " passed\n" in learn(tmp_path, "list").stdout


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        (
            "import no_such_module\n",
            "No module named 'no_such_module'",
            "line 1 of PATH: import no_such_module",
        ),
        ("def connect(d):\n    pass\n", "PATH has no function execute", "PATH"),
    ],
)
def test_what_cannot_be_loaded_is_said_once(tmp_path: Path, text: str, said: str, where: str) -> None:
    path = solve(tmp_path, 1)
    path.write_text(text)
    answer = learn(tmp_path, "check", "1")
    assert answer.stdout.count("FAIL") == 1
    words = " ".join(answer.stdout.split())
    assert f"{said} look {where} 0 of 12 checks hold".replace("PATH", str(path)) in words


@pytest.mark.parametrize("text", ["x = 1\ndef f(:\n    pass\n", "x = 1\ny = '\n"])
def test_what_is_not_python_is_said_once_with_its_line(tmp_path: Path, text: str) -> None:
    path = solve(tmp_path, 1)
    path.write_text(text)
    code = text.splitlines()[1]
    answer = learn(tmp_path, "check", "1")
    assert answer.stdout.count("FAIL") == 1
    assert f"line 2 of {path}: {code}" in " ".join(answer.stdout.split())
    assert "0 of 12 checks hold" in answer.stdout
    answer = learn(tmp_path, "run", "--with", "1", "--", "true")
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert f"line 2 of {path}: {code}" in answer.stderr


def test_a_function_that_is_not_written_is_named_whoever_calls_it(tmp_path: Path) -> None:
    path = solve(tmp_path, 1)
    path.write_text(path.read_text() + "\n\ndef connect(descriptors):\n    raise NotImplementedError\n")
    said = learn(tmp_path, "check", "1").stdout
    assert "execute is not written yet" not in said
    assert said.count("connect is not written yet") >= 6


@pytest.mark.parametrize("module", ["colorsys", "minidock.learn"])
def test_an_import_inside_the_jail_is_told_where_the_library_is(tmp_path: Path, module: str) -> None:
    """Not a mutant: whether a module is loaded already depends on the Python. Nobody loads the first of
    these, and the second one only the grader.
    """
    path = solve(tmp_path, 2)
    step = '    os.mkdir("/deeper")\n'
    path.write_text(path.read_text().replace(step, f"    import {module}\n{step}"))
    words = " ".join(learn(tmp_path, "check", "--only", "2").stdout.split())
    assert f"seen ModuleNotFoundError: No module named '{module}'" in words
    assert "Python's library lies outside of it: import at the head of the file" in words


def test_a_program_without_its_descriptors_leads_to_the_function_that_connects(tmp_path: Path) -> None:
    path = solve(tmp_path, 1)
    path.write_text(path.read_text() + "\n\ndef connect(descriptors):\n    pass\n")
    line = path.read_text().splitlines().index("def connect(descriptors):") + 1
    words = " ".join(learn(tmp_path, "check", "1").stdout.split())
    assert words.count("it has ended") > words.count("it has ended (as above: mend that first)") > 3
    assert words.count(f"are they inheritable? connect at line {line} of") == 1, "one cause is explained once"


def test_every_check_of_a_start_file_says_that_nothing_is_written_yet(tmp_path: Path) -> None:
    for number in (1, 2, 3, 4):
        learn(tmp_path, "start", str(number))
    said = learn(tmp_path, "check", "4").stdout
    assert len(re.findall(r" 0 of \d+ checks hold ", said)) == 4
    assert said.count("is not written yet") == said.count("  FAIL  ") == said.count("        seen     ") > 30


def test_what_does_not_come_back_is_not_waited_for_in_every_check(tmp_path: Path) -> None:
    path = solve(tmp_path, 1)
    path.write_text(path.read_text() + "\n\ndef connect(descriptors):\n    while True:\n        pass\n")
    words = " ".join(learn(tmp_path, "check", "1").stdout.split())
    assert words.count("not back after 4 s: it is running, in a loop without an end?") == 2
    assert words.count("not back after 0.5 s, as often before: it is running") > 3


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("return '2'", "it returned '2': a str, not an int"),
        ("return {2}", "it returned {2}: a set, not an int"),
        ("pass", "it returned None: a NoneType, not an int"),
    ],
)
def test_a_value_of_another_type_is_shown_with_its_type(tmp_path: Path, function: str, said: str) -> None:
    path = solve(tmp_path, 1)
    path.write_text(path.read_text() + f"\n\ndef exit_code(wait_status):\n    {function}\n")
    assert said in " ".join(learn(tmp_path, "check", "1").stdout.split())


def test_check_is_cumulative_and_only_is_not(tmp_path: Path) -> None:
    solve(tmp_path, 3)
    learn(tmp_path, "start", "1")
    learn(tmp_path, "start", "2")
    answer = learn(tmp_path, "check", "3")
    assert answer.returncode == 1
    assert "Chapter 1," in answer.stdout
    answer = learn(tmp_path, "check", "--only", "3")
    assert answer.returncode == 0, answer.stdout
    assert "Chapter 1," not in answer.stdout


@pytest.mark.parametrize("said", ["flush=True", "end=''", "file=sys.stderr"])
def test_what_a_function_prints_is_shown_and_nothing_else_is(tmp_path: Path, said: str) -> None:
    """Into a pipe, where Python keeps back what is printed, as much as on a terminal."""
    token = os.urandom(6).hex()
    path = solve(tmp_path, 1)
    wrong = f"    print({token!r}, {said})\n    return 300\n"
    path.write_text(path.read_text() + f"\nimport sys\n\n\ndef exit_code(wait_status):\n{wrong}")
    lines = learn(tmp_path, "check", "1").stdout.splitlines()
    printed = [line.split() for line in lines if line.strip().startswith("printed")]
    assert printed == [["printed", token]] * 2, lines


def test_a_readers_own_environment_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = os.urandom(6).hex()
    monkeypatch.setenv("MY_PASSWORD", token)
    path = solve(tmp_path, 1)
    path.write_text(path.read_text().replace("dict(environment)", "{**os.environ, **environment}"))
    said = learn(tmp_path, "check", "1").stdout
    assert "more that were not given, SECRET_OF_THE_ENGINE among them" in " ".join(said.split())
    assert token not in said


def test_of_much_that_is_printed_the_last_lines_are_shown_as_they_are(tmp_path: Path) -> None:
    path = solve(tmp_path, 1)
    wrong = "    print('\\n'.join(f'line {n}  of many' for n in range(40)))\n    return 300\n"
    path.write_text(path.read_text() + f"\n\ndef exit_code(wait_status):\n{wrong}")
    said = learn(tmp_path, "check", "1").stdout
    assert "        printed  (the last 12 of 40 lines)\n" + " " * 17 + "line 28  of many\n" in said
    assert " " * 17 + "line 39  of many\n" in said
    assert "line 27" not in said


def test_advice_keeps_the_folder_and_the_way_minidock_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my files"
    said = learn(folder, "start", "1").stdout
    assert f"Grade it:   sudo minidock learn check 1 --folder '{folder}'\n" in said
    assert f"minidock learn start 2 --folder '{folder}' writes it" in learn(folder, "diff", "2").stderr
    assert advice.learn("run --with 1 -- docker ps", "/f", as_root=True) == (
        "sudo minidock learn run --with 1 --folder /f -- docker ps"
    )
    program = tmp_path / "bin" / "minidock"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert advice.learn("list") == f"{program} learn list"
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert advice.learn("list") == "minidock learn list"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert advice.learn("check", as_root=True) == f"sudo {program} learn check", "sudo has a PATH of its own"


def test_who_is_not_root_is_refused_before_anything_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    folder = Folder(tmp_path)
    for verb in (
        lambda: verbs.break_chapter(folder, 1, None),
        lambda: verbs.predict_chapter(folder, 1),
        lambda: verbs.figure(1),
    ):
        with pytest.raises(Unavailable, match="only root can make one: run it with sudo"):
            verb()
    assert capsys.readouterr().out == ""


def test_what_was_not_started_cannot_be_graded(tmp_path: Path) -> None:
    answer = learn(tmp_path, "check", "1")
    assert answer.returncode == 1
    assert "minidock learn start 1" in answer.stderr


def test_hints_come_one_at_a_time_for_the_first_unwritten_function(tmp_path: Path) -> None:
    learn(tmp_path, "start", "3")
    for level in (1, 2, 3):
        answer = learn(tmp_path, "hint", "3")
        assert [line for line in answer.stdout.splitlines() if line.startswith("Step")] == [
            line for line in answer.stdout.splitlines() if line.startswith(f"Step 1, hint {level} of 3:")
        ]
    assert learn(tmp_path, "hint", "3").stdout.count("Step 1, hint ") == 3, "there are no more: all again"
    text = (tmp_path / "03-mounts.py").read_text()
    (tmp_path / "03-mounts.py").write_text(text.replace("raise NotImplementedError", "pass", 1))
    assert learn(tmp_path, "hint", "3").stdout.startswith("Step 2, hint 1")


def test_a_functions_hints_are_asked_for_by_its_name(tmp_path: Path) -> None:
    answer = learn(tmp_path, "hint", "3", "pivot")
    assert answer.stdout.startswith("Step 3, hint 1 of 3: pivot:")
    assert "minidock learn hint 3 isolate_mounts" in answer.stdout, "how to ask for another one is said"
    answer = learn(tmp_path, "hint", "3", "chroot")
    assert answer.returncode == 1
    assert "its steps are 1 or isolate_mounts, 2 or attach_root, 3 or pivot" in answer.stderr


def test_diff_shows_the_engines_own(tmp_path: Path) -> None:
    path = solve(tmp_path, 1)
    assert "line by line" in learn(tmp_path, "diff", "1").stdout
    path.write_text(path.read_text().replace("128 - code", "128 + code"))
    assert "+    return code if code >= 0 else 128 - code" in learn(tmp_path, "diff", "1").stdout


def test_watch_ends_when_everything_holds(tmp_path: Path) -> None:
    learn(tmp_path, "start", "2")
    command = [*MINIDOCK, "learn", "watch", "2", "--folder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        seen = ""
        while "waiting for" not in seen:
            seen += watching.stdout.readline()
        time.sleep(0.01)
        solve(tmp_path, 2)
        seen += watching.stdout.read()
    assert watching.returncode == 0
    assert "6 of 6 checks hold" in seen


def test_predictions_are_scored(tmp_path: Path) -> None:
    answer = learn(tmp_path, "predict", "1", given="a\nb\na\n")
    assert answer.returncode == 0, answer.stderr
    assert "3 of 3 predicted." in answer.stdout
    answer = learn(tmp_path, "predict", "1", given="x\nb\nb\nb\n")
    assert "1 of 3 predicted." in answer.stdout
    record = json.loads((tmp_path / "progress.json").read_text())
    assert record["1"]["predicted"] == "1/3"
    assert learn(tmp_path, "predict", "1", given="").returncode == 1


def test_break_shows_the_functions_and_takes_only_bugs_that_there_are(tmp_path: Path) -> None:
    answer = learn(tmp_path, "break", "2", "2", given="a\nx\na\n")
    assert answer.returncode == 0, answer.stderr
    shown = answer.stdout.partition("These are the symptoms")[0]
    assert "def split_name(name: str)" in shown
    assert "def escape()" in shown
    assert "answer with a letter from a to d" in answer.stdout
    answer = learn(tmp_path, "break", "2", "nonsense")
    assert answer.returncode == 1
    assert "chapter 2 has no bug nonsense: choose one from 1 to " in answer.stderr


def test_break_shows_symptoms_and_scores_line_and_reason(tmp_path: Path) -> None:
    answer = learn(tmp_path, "break", "1", "raw-wait-status", given="a\na\n")
    assert answer.returncode == 0, answer.stderr
    assert "exit_code" in answer.stdout
    assert "Which line was changed?" in answer.stdout
    assert " of 2." in answer.stdout
    assert "It had become:\n    return wait_status\n" in answer.stdout


@pytest.mark.parametrize("chapter", chapters.written(), ids=lambda chapter: chapter.name)
def test_an_exercise_has_one_right_answer(chapter: chapters.Chapter) -> None:
    lines = [line.strip() for line in source.solution(chapter).splitlines()]
    for mutant in mutants.load(chapter):
        one = breaking.exercise(chapter, mutant.name, random.Random(mutant.name))
        assert len(set(one.lines)) == len(one.lines) > 1
        assert len(set(one.whys)) == len(one.whys) > 1
        scores = sorted(one.score(line, why) for line in one.lines for why in one.whys)
        assert scores.count(2) == 1
        assert "try:" not in one.lines
        changed = {line.strip() for line in one.mutant.before.splitlines()}
        assert [line for line in one.lines if line in changed] == [one.mutant.changed_line()], (
            "or two are right"
        )
        assert set(one.lines) <= set(lines), "a line that is shown in part gives itself away"


@pytest.mark.parametrize("number", [chapter.number for chapter in chapters.written()])
def test_a_figure_is_drawn_from_a_live_sandbox(tmp_path: Path, number: int) -> None:
    answer = learn(tmp_path, "figure", str(number))
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) > 2


SHOWS = {
    1: ("exit 3", (), "minidock.runtime.program:execute ran 1 times", 3),
    2: ("true", (), "minidock.runtime.root:enter_chroot ran 1 times", 0),
    3: ("cat /proc/self/mountinfo", (), "minidock.runtime.root:pivot ran 1 times", 0),
    4: ("exit 9", ("--init",), "minidock.runtime.reaper:serve ran 1 times", 9),
}


@pytest.mark.parametrize("number", SHOWS)
def test_the_real_engine_runs_the_learners_functions(
    tmp_path: Path, number: int, docker_clients: list[str]
) -> None:
    script, flags, proof, code = SHOWS[number]
    path = solve(tmp_path, number)
    token = os.urandom(6).hex()
    path.write_text(f"TOKEN = {token!r}\n" + path.read_text())
    assert docker_clients
    run = [docker_clients[0], "run", "--rm", *flags, "hostbox", "sh", "-c", f"echo {token}; {script}"]
    answer = learn(tmp_path, "run", "--with", str(number), "--", *run)
    assert answer.returncode == code, answer.stderr
    assert token in answer.stdout
    assert proof in answer.stderr


def test_a_function_that_is_wrong_is_wrong_in_the_real_engine(
    tmp_path: Path, docker_clients: list[str]
) -> None:
    path = solve(tmp_path, 1)
    path.write_text(
        path.read_text().replace("128 - code", "128 - code")
        + "\ndef exit_code(wait_status):\n    return 42\n"
    )
    run = [docker_clients[0], "run", "--rm", "hostbox", "true"]
    answer = learn(tmp_path, "run", "--with", "1", "--", *run)
    assert answer.returncode == 42, answer.stderr


def test_two_chapters_run_together(tmp_path: Path, docker_clients: list[str]) -> None:
    solve(tmp_path, 1)
    solve(tmp_path, 3)
    run = [docker_clients[0], "run", "--rm", "hostbox", "echo", "both"]
    answer = learn(tmp_path, "run", "--with", "1", "--with", "3", "--", *run)
    assert answer.stdout == "both\n", answer.stderr
    assert "your minidock.runtime.program:execute ran 1" in answer.stderr
    assert "your minidock.runtime.root:pivot ran 1" in answer.stderr
    solve(tmp_path, 2)
    answer = learn(tmp_path, "run", "--with", "2", "--with", "3", "--", *run)
    assert answer.stdout == "both\n", answer.stderr
    assert "your minidock.runtime.root:enter_chroot ran 1" in answer.stderr
    said = "your minidock.runtime.root:pivot was not called inside the engine: --with 2 has it enter the root"
    assert said in answer.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import no_such_module_anywhere\n",
            "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        ),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_why_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = solve(tmp_path, 1)
    path.write_text(f"import os\n{text}{path.read_text()}")
    answer = learn(tmp_path, "run", "--with", "1", "--", "true")
    assert answer.returncode == 1
    assert f"your file cannot be loaded: line 2 of {path}: {said}" in answer.stderr.splitlines()[-1]
    assert "Traceback" not in answer.stderr


def test_what_a_function_raises_in_the_engine_is_told_with_its_line(
    tmp_path: Path, docker_clients: list[str]
) -> None:
    path = solve(tmp_path, 1)
    assert learn(tmp_path, "check", "1").returncode == 0
    run = ["run", "--with", "1", "--", docker_clients[0], "run", "--rm", "hostbox", "true"]
    assert "has not passed" not in learn(tmp_path, *run).stderr
    path.write_text(path.read_text().replace("os.dup2(", "os.dupp("))
    answer = learn(tmp_path, *run)
    assert answer.returncode != 0
    assert "has not passed its checks as it is now" in answer.stderr
    number, line = next(
        (number, line) for number, line in enumerate(path.read_text().splitlines(), 1) if "os.dupp(" in line
    )
    said = "AttributeError: module 'os' has no attribute 'dupp'"
    where = f"line {number} of {path}: {line.strip()}"
    assert f"minidock.runtime.program:connect raised {said} ({where})" in answer.stderr


def test_what_is_not_written_yet_is_said_in_one_sentence(tmp_path: Path) -> None:
    learn(tmp_path, "start", "3")
    path = tmp_path / "03-mounts.py"
    answer = learn(tmp_path, "run", "--with", "3", "--", "true")
    words = f"you have not written isolate_mounts, attach_root and pivot yet: edit {path}\n"
    assert (answer.returncode, answer.stdout, answer.stderr) == (1, "", words)
    path.write_text(path.read_text().replace("raise NotImplementedError", "pass", 2))
    answer = learn(tmp_path, "run", "--with", "3", "--", "true")
    assert answer.stderr == f"you have not written pivot yet: edit {path}\n"


def test_a_written_function_that_mentions_the_start_files_line_is_written() -> None:
    text = "def f():\n    'was: raise NotImplementedError'\n    return 1  # raise NotImplementedError\n"
    assert source.unwritten(text + "def g():\n    raise NotImplementedError\n", ["f", "g", "h"]) == ["g"]
    assert source.unwritten("def f(:\n    raise NotImplementedError\n", ["f", "g"]) == ["f"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["foo"], "minidock: unknown command: minidock learn foo"),
        (["start"], "minidock: 'minidock learn start' requires 1 argument"),
        (["start", "one"], "minidock: 'minidock learn start' takes a number, not 'one'"),
        (["start", "1", "2"], "minidock: 'minidock learn start' requires 1 argument"),
        (
            ["hint", "1", "2", "3"],
            "minidock: 'minidock learn hint' requires at least 1 and at most 2 arguments",
        ),
        (["run", "--", "true"], "minidock: 'minidock learn run' requires --with N"),
        (["check", "--only", "x"], 'invalid argument "x" for "--only" flag: a chapter\'s number is needed'),
        (["check", "--all"], "unknown flag: --all"),
        (["--all"], "unknown flag: --all"),
    ],
)
def test_a_wrong_command_line_is_answered_as_by_every_other_verb(words: list[str], problem: str) -> None:
    answer = subprocess.run([*MINIDOCK, "learn", *words], capture_output=True, text=True, check=False)
    assert answer.returncode in (1, 125)
    assert answer.stdout == ""
    assert answer.stderr.startswith(problem)
    assert "\n\nUsage:  minidock learn" in answer.stderr
    assert answer.stderr.endswith(" --help' for more information\n")


def test_help_names_every_verb_and_each_verb_has_its_own() -> None:
    for words in (["--help"], ["help"], ["-h"]):
        answer = subprocess.run([*MINIDOCK, "learn", *words], capture_output=True, text=True, check=False)
        assert answer.returncode == 0
        assert [name for name in VERBS if f"\n  {name} " not in answer.stdout] == []
    for name in VERBS:
        command = [*MINIDOCK, "learn", name, "--help"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.stdout.startswith(f"Usage:  minidock learn {name}")
        assert "--folder" in answer.stdout


def test_the_doctor_finds_this_machine_fit() -> None:
    answer = subprocess.run([*MINIDOCK, "doctor"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    for subject in (
        *("kernel", "cgroups", "overlayfs", "namespaces", "new namespaces", "layers", "libnftables"),
        *("nftables", "python", "machine", "mount tree"),
    ):
        assert f" {subject} " in answer.stdout


def test_the_doctor_finds_what_is_missing_and_says_how_to_mend_it() -> None:
    """A user namespace of one's own is a machine that can be spoiled: no network namespaces here."""
    spoiled = 'echo 0 > /proc/sys/user/max_net_namespaces; exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", spoiled, "sh", *MINIDOCK, "doctor"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "BAD   new namespaces" in answer.stdout
    assert "-> look at /proc/sys/user/max_*_namespaces" in answer.stdout
    assert "BAD   nftables" in answer.stdout
    assert " to mend before minidock can run" in answer.stdout
