import pytest

from minidock.cli.failure import Failure
from minidock.cli.flags import Command, Flag, HelpWanted, Options, parse

COMMAND = Command(
    "try",
    "[OPTIONS] IMAGE [COMMAND]",
    "Try flags",
    lambda options: 0,
    (
        Flag("tty", "t", "bool", ""),
        Flag("interactive", "i", "bool", ""),
        Flag("env", "e", "list", ""),
        Flag("memory", "m", "int", ""),
        Flag("name", "", "string", "", aliases=("called",)),
        Flag("proxy", "", "bool", "", None, True, "true"),
    ),
    (1, None),
    stops=True,
)


def given(*words: str) -> Options:
    return parse(COMMAND, words, "try")


def test_short_flags_combine_and_the_last_one_takes_the_value() -> None:
    options = given("-ite", "A=1", "-eB=2", "-m=3", "image")
    assert (options["tty"], options["interactive"], options["env"]) == (True, True, ["A=1", "B=2"])
    assert options["memory"] == 3


def test_a_bool_takes_a_value_only_after_an_equals_sign() -> None:
    options = given("--tty=false", "--proxy=0", "image", "true")
    assert (options["tty"], options["proxy"], options.arguments) == (False, False, ["image", "true"])


def test_what_follows_the_first_argument_belongs_to_the_program() -> None:
    assert given("image", "-t", "--", "-z").arguments == ["image", "-t", "--", "-z"]
    assert not given("image", "-t")["tty"]


def test_a_double_dash_ends_the_flags() -> None:
    assert given("--", "-t").arguments == ["-t"]


def test_defaults_stand_until_a_flag_is_given() -> None:
    options = given("image")
    assert (options["proxy"], options["env"], options["name"], "name" in options) == (True, [], "", False)
    assert given("--called", "x", "image")["name"] == "x"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-iz", "image"], "unknown shorthand flag: 'z' in -z"),
        (["-m"], "flag needs an argument: 'm' in -m"),
        (["--memory"], "flag needs an argument: --memory"),
        (
            ["-m", "x", "image"],
            'invalid argument "x" for "-m, --memory" flag: strconv.ParseInt: parsing "x": invalid syntax',
        ),
    ],
)
def test_a_wrong_flag_is_refused_in_dockers_words_with_125(words: list[str], sentence: str) -> None:
    with pytest.raises(Failure) as caught:
        given(*words)
    usage = (
        "\n\nUsage:  minidock try [OPTIONS] IMAGE [COMMAND]\n\nRun 'minidock try --help' for more information"
    )
    assert (str(caught.value), caught.value.exit_code) == (sentence + usage, 125)


def test_too_few_arguments_exit_with_1() -> None:
    with pytest.raises(Failure, match="'minidock try' requires at least 1 argument") as caught:
        given("-t")
    assert caught.value.exit_code == 1


def test_help_is_asked_for_by_flag() -> None:
    with pytest.raises(HelpWanted):
        given("--help")
