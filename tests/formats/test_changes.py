"""The language of `--change`; expected values are what dockerd 20.10 made of the same lines."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter
from minidock.formats.changes import apply_changes
from minidock.formats.dockerfile import json_words, parse
from minidock.formats.durations import duration_ns
from minidock.formats.image import ExecutionConfig
from minidock.formats.shellwords import expand, split

SECOND = 10**9


def changed(*changes: str, **before: Any) -> dict[str, Any]:
    """Return the members that are set after the changes, in Docker's spelling."""
    document: dict[str, Any] = msgspec.to_builtins(apply_changes(ExecutionConfig(**before), changes))
    return document


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (['CMD echo "hi there" $X'], {"Cmd": ["/bin/sh", "-c", 'echo "hi there" $X']}),
        (['CMD ["a","b"]'], {"Cmd": ["a", "b"]}),
        (["CMD ['a']"], {"Cmd": ["/bin/sh", "-c", "['a']"]}),
        (
            ["ENTRYPOINT exec top -b", 'CMD ["x"]'],
            {"Entrypoint": ["/bin/sh", "-c", "exec top -b"], "Cmd": ["x"]},
        ),
        (['CMD ["x"]', 'ENTRYPOINT ["e"]'], {"Entrypoint": ["e"], "Cmd": ["x"]}),
        (
            [
                r'ENV a=b c="d e" f=g\ h',
                "ENV k v w  x",
                "ENV p=$a q=${zz:-dflt} r=\"${a:+yes}\" s='$a'",
            ],
            {"Env": ["a=b", "c=d e", "f=g h", "k=v w  x", "p=b", "q=dflt", "r=yes", "s=$a"]},
        ),
        (["ENV PATH=$PATH:/x"], {"Env": ["PATH=:/x"]}),
        (["ENV a=b \\\n c=d"], {"Env": ["a=b", "c=d"]}),
        (
            ["EXPOSE 80 90/udp 100-101 53/TCP"],
            {"ExposedPorts": {"80/tcp": {}, "90/udp": {}, "100/tcp": {}, "101/tcp": {}, "53/tcp": {}}},
        ),
        (["EXPOSE 0"], {"ExposedPorts": {"0/tcp": {}}}),
        (["LABEL a b c"], {"Labels": {"a": "b c"}}),
        (
            ["LABEL a=$a ", "ENV a=1", 'LABEL b=$a c=\\$a d="x$a" e=\'x$a\' "f g"=h'],
            {
                "Env": ["a=1"],
                "Labels": {"a": "", "b": "1", "c": "$a", "d": "x1", "e": "x$a", "f g": "h"},
            },
        ),
        (["USER  root:root"], {"User": "root:root"}),
        (["VOLUME /a /b"], {"Volumes": {"/a": {}, "/b": {}}}),
        (['VOLUME ["/a b", "/c"]'], {"Volumes": {"/a b": {}, "/c": {}}}),
        (["WORKDIR a", "WORKDIR b/../c", "WORKDIR /x/"], {"WorkingDir": "/x/"}),
        (["WORKDIR a", "WORKDIR b/../c"], {"WorkingDir": "/a/c"}),
        (["STOPSIGNAL SIGKILL"], {"StopSignal": "SIGKILL"}),
        (
            ["HEALTHCHECK --interval=5s --retries=3 --timeout=1m30s --start-period=2s CMD curl -f x"],
            {
                "Healthcheck": {
                    "Test": ["CMD-SHELL", "curl -f x"],
                    "Interval": 5 * SECOND,
                    "Timeout": 90 * SECOND,
                    "StartPeriod": 2 * SECOND,
                    "Retries": 3,
                }
            },
        ),
        (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"]}}),
        (['HEALTHCHECK CMD ["a","b"]'], {"Healthcheck": {"Test": ["CMD", "a", "b"]}}),
        (["ONBUILD RUN x", "ONBUILD COPY a b"], {"OnBuild": ["RUN x", "COPY a b"]}),
        (["cmd x"], {"Cmd": ["/bin/sh", "-c", "x"]}),
        (["ENTRYPOINT []"], {}),
    ],
)
def test_changes_mean_what_they_mean_to_docker(changes: list[str], expected: dict[str, Any]) -> None:
    assert changed(*changes) == expected


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("EXPOSE abc", "Invalid containerPort: abc"),
        ("EXPOSE 80/foo", "Invalid proto: foo"),
        ("EXPOSE 70000", "Invalid containerPort: 70000"),
        ("EXPOSE 90-80", "Invalid containerPort: 90-80"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("LABEL a=b x", 'Syntax error - can\'t find = in "x". Must be of the form: name=value'),
        ("LABEL", "LABEL requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("HEALTHCHECK --interval=1ns CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK foo", 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries must be at least 1 (not -1)"),
        ("HEALTHCHECK --bogus=1 CMD x", "Unknown flag: bogus"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("RUN x", "run is not a valid change command"),
        ("FOO bar", "foo is not a valid change command"),
        ("ENV a", "ENV must have two arguments"),
        ("ENV =b", "ENV names can not be blank"),
        ("CMD [1,2]", "when using JSON array syntax, arrays must be comprised of strings only"),
        ("USER", "USER requires exactly one argument"),
        ("", "file with no instructions"),
        ("# comment", "file with no instructions"),
        (
            'ENV a="unterminated',
            'failed to process "\\"unterminated": unexpected end of statement while looking for '
            "matching double-quote",
        ),
        ("ENV a=${b:?err}", 'failed to process "${b:?err}": b: err'),
        ("STOPSIGNAL foo", "Invalid signal: foo"),
    ],
)
def test_a_bad_change_is_refused_in_dockers_words(change: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        changed(change)
    assert str(caught.value) == sentence


def test_an_entrypoint_takes_an_inherited_command_away() -> None:
    assert changed('ENTRYPOINT ["e"]', cmd=["old"]) == {"Entrypoint": ["e"]}
    assert changed('ENTRYPOINT ["e"]', "CMD new", cmd=["old"], shell=["/bin/ash", "-c"])["Cmd"] == [
        "/bin/ash",
        "-c",
        "new",
    ]


def test_no_change_changes_nothing() -> None:
    config = ExecutionConfig(cmd=["x"])
    assert apply_changes(config, []) is config


def test_durations_are_gos() -> None:
    assert duration_ns("1h2m3.5s") == (3600 + 123) * SECOND + SECOND // 2
    with pytest.raises(InvalidParameter):
        duration_ns("5")


def test_an_instruction_knows_its_line_and_its_flags() -> None:
    first, second = parse(
        "# escape=`\n\n# words\nCOPY --from=a --link b c\nRUN one `\n  # in between\n\n  two\n"
    )
    assert (first.name, first.flags, first.text, first.line) == (
        "COPY",
        (("from", "a"), ("link", "")),
        "b c",
        4,
    )
    assert (second.text, second.line, second.escape) == ("one   two", 5, "`")


def test_only_a_list_of_words_is_the_json_form() -> None:
    assert json_words('["a"]') == ["a"]
    assert json_words("a") is json_words("[a]") is None


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="'"), min_size=1)))
def test_quoted_words_come_back_as_they_were(words: list[str]) -> None:
    assert [expand(word, {}) for word in split(" ".join(f"'{word}'" for word in words))] == words


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for word in split(text):
        try:
            expand(word, {"a": "b"})
        except InvalidParameter:
            pass
