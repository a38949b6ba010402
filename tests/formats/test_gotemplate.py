import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidParameter
from minidock.formats.gotemplate import Template
from minidock.formats.gotemplate_functions import show, to_html_safe_json, to_json

DATA: dict[str, Any] = {
    "Id": "x1",
    "State": {"Running": True, "Code": 3, "Error": ""},
    "Labels": {"b": "2", "a": "1"},
    "List": ["p", "q"],
    "Nothing": None,
    "Zero": 0,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{{.Id}}-{{ .State.Code }}", "x1-3"),
        ("{{json .State}}", '{"Running":true,"Code":3,"Error":""}'),
        ("{{.}}", f"{show(DATA)}"),
        ("{{.Labels}} {{.List}} {{.Nothing}} {{.State.Running}}", "map[a:1 b:2] [p q] <no value> true"),
        ("{{range .List}}<{{.}}>{{end}}", "<p><q>"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a=1 b=2 "),
        ("{{range $i, $v := .List}}{{$i}}{{$v}}{{$.Id}}{{end}}", "0px11qx1"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Error}}bad{{else if .Zero}}zero{{else}}good{{end}}", "good"),
        ("{{if and .Id (not .Zero)}}y{{end}}{{if or .Zero .State.Error}}n{{end}}", "y"),
        ("{{with .State}}{{.Code}}{{end}}{{with .Nothing}}x{{else}}-{{end}}", "3-"),
        ("{{$s := .State}}{{$s.Code}}", "3"),
        ('{{index .Labels "a"}}{{index .List 1}}{{index .Labels "none"}}', "1q"),
        ("{{len .List}}{{len .Id}}", "22"),
        (
            '{{printf "%-4s|%3d|%q|%v|%t|%5.1f%%" .Id .State.Code "z" .List true 2.25}}',
            'x1  |  3|"z"|[p q]|true|  2.2%',
        ),
        ('{{join .List ","}} {{index (split "a:b" ":") 1}}', "p,q b"),
        ('{{.Id | upper | printf "<%s>"}} {{lower "AB"}} {{title "two words"}}', "<X1> ab Two Words"),
        ('{{println .Id .Zero}}{{print "a" 1}}', "x1 0\na1"),
        ('{{if eq .State.Code 1 2 3}}in{{end}}{{if ne .Id "x"}}ne{{end}}{{if lt 1 2}}lt{{end}}', "innelt"),
        ('{{pad "x" 1 2}}|{{truncate "abcdef" 3}}|{{slice "abcdef" 1 3}}', " x  |abc|bc"),
        ("a {{- .Id -}}  b {{/* gone */}}c", "ax1b c"),
        ('{{"quoted }} \\t"}}{{`raw \\t`}}', "quoted }} \traw \\t"),
    ],
)
def test_templates_give_what_go_gives(text: str, expected: str) -> None:
    assert Template(text).execute(DATA) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{{.Id", "template: :1: unclosed action"),
        ("{{if .Id}}x", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{nope .}}", 'template: :1: function "nope" not defined'),
        ("{{}}", "template: :1: missing value for command"),
        ("{{if}}x{{end}}", "template: :1: missing value for if"),
        ('{{define "x"}}{{end}}', "template: :1: the action 'define' is not supported"),
        ("{{(.Id}}", "template: :1: unclosed left paren"),
        ('{{"open}}', "template: :1: unterminated quoted string"),
        ("{{.Id # 1}}", "template: :1: unexpected '#' in command"),
    ],
)
def test_a_malformed_template_is_refused_before_anything_is_printed(text: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Template(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{{.Nope}}", 'template: :1:2: executing "" at <.Nope>: map has no entry for key "Nope"'),
        ("{{.State.Nope}}", 'template: :1:8: executing "" at <.State.Nope>: map has no entry for key "Nope"'),
        ("{{.Id.X}}", 'template: :1:5: executing "" at <.Id.X>: can\'t evaluate field X in type string'),
        (
            "{{index .List 9}}",
            'template: :1:2: executing "" at <index .List 9>: error calling index: index out of range: 9',
        ),
        ("{{len 1}}", 'template: :1:2: executing "" at <len 1>: error calling len: len of type int'),
        ("{{range .Id}}{{end}}", 'template: :1:8: executing "" at <.Id>: range can\'t iterate over x1'),
    ],
)
def test_a_template_that_does_not_fit_says_where(text: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Template(text).execute(DATA)
    assert str(caught.value) == sentence


def test_a_field_that_docker_leaves_out_when_empty_may_be_asked_for() -> None:
    template = Template("{{if .State.Health}}sick{{else}}fine{{end}}")
    assert template.execute(DATA, optional={"Health"}) == "fine"
    with pytest.raises(InvalidParameter):
        template.execute(DATA)


def test_a_row_is_named_by_its_go_type_in_errors() -> None:
    with pytest.raises(
        InvalidParameter, match=r"can't evaluate field Nope in type \*formatter.ContainerContext"
    ):
        Template("{{.Nope}}").execute(DATA, "*formatter.ContainerContext")


def test_the_fields_of_a_template_are_known_before_it_runs() -> None:
    assert Template("{{if .A}}{{upper .B.C}}{{end}}{{.D}}").fields == {"A", "B", "D"}


@given(st.text(alphabet=st.characters(exclude_characters="{")))
def test_text_without_actions_is_left_alone(text: str) -> None:
    assert Template(text).execute({}) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_survives_and_is_safe_in_html(value: Any) -> None:
    text = to_html_safe_json(value)
    assert json.loads(text) == json.loads(to_json(value)) == value
    assert not set(text) & set("<>&\u2028\u2029")
