"""Templates in job files: what Go's users write there, and each thing that cannot be read."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skrei.errors import Rejected
from skrei.template import filled

NAMES = {"name": "cod", "empty": "", "n": "3", "quote": 'a "b"'}


def fill(text: str) -> str:
    return filled(text, NAMES, file="job.yaml")


@pytest.mark.row("7.3/job-run")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Name: {{.name}}", "Name: cod"),
        ("{{ .name }}-{{ .n }}", "cod-3"),
        ("a {{- .name -}} b", "acodb"),
        ("{{/* nothing */}}x", "x"),
        ('{{if .empty}}a{{else if eq .name "cod"}}b{{else}}c{{end}}', "b"),
        ("{{if .empty}}{{if .name}}a{{end}}b{{else}}c{{end}}", "c"),
        ("{{with .name}}{{.}}s{{end}}", "cods"),
        ('{{if and .name (not .empty)}}yes{{end}}{{or .empty "none"}}', "yesnone"),
        ('{{printf "%s-%s" .name .n}}', "cod-3"),
        ('{{.name | printf "%q"}}', '"cod"'),
        ('{{printf "100%% %5s|" .n}}', "100%     3|"),
        ("{{len .name}}{{eq .n .name .n}}{{ne .n .name}}", "3truetrue"),
        ("{{lt 1 2}} {{ge 1.5 2.0}}", "true false"),
        ('{{print .name "x"}} {{urlquery "a b&c"}}', "codx a+b%26c"),
        ("{{`raw {{`}}", "raw {{"),
        ('{{"a\\tb"}}', "a\tb"),
        ("no template { at } all", "no template { at } all"),
    ],
)
def test_a_template_says_what_go_says(text: str, said: str) -> None:
    assert fill(text) == said


@pytest.mark.parametrize(
    ("text", "told", "todo"),
    [
        (
            "a\n{{.nmae}}",
            "job.yaml, line 2: the template wants 'nmae', and nobody gave it.",
            "Did you mean name? Give it: -V nmae=VALUE, or -E nmae for the variable of that name.",
        ),
        ("{{.name", "job.yaml, line 1: a {{ has no }}.", ""),
        ("{{if .name}}a", "job.yaml, line 1: an {{if}} or {{with}} has no {{end}}.", ""),
        ("{{end}}", "job.yaml, line 1: an {{end}} ends nothing.", ""),
        ("{{else}}", "job.yaml, line 1: an {{else}} belongs to nothing.", ""),
        ("{{if .n}}{{else}}{{else}}{{end}}", "job.yaml, line 1: an {{else}} belongs to nothing.", ""),
        ("\n\n{{range .name}}{{end}}", "job.yaml, line 3: {{range}} is not read in job files.", ""),
        ("{{upper .name}}", "job.yaml, line 1: there is no function 'upper' in job files.", ""),
        ("{{.name .n}}", "job.yaml, line 1: '.n' is one word too many.", ""),
        ("{{(.name}}", "job.yaml, line 1: a ( has no ).", ""),
        ("{{}}", "job.yaml, line 1: a value is missing.", ""),
        ("{{.}}", "job.yaml, line 1: '.' is no value here.", ""),
        ("{{$x := .name}}", "job.yaml, line 1: {{$x := .name}} is not read in job files.", ""),
        ("{{.name | .n}}", "job.yaml, line 1: a value cannot be piped into a value.", ""),
        ("{{eq .name}}", "job.yaml, line 1: eq cannot be called so: it compares two values or more.", ""),
        ('{{lt 1 "a"}}', "job.yaml, line 1: lt cannot be called so: the values are of two kinds.", ""),
        ('{{printf "%s"}}', "job.yaml, line 1: printf cannot be called so: 1 values are wanted, 0 are given.", ""),
        ("{{if .n}}" * 40, "job.yaml, line 1: more than 32 blocks are inside each other.", ""),
        ("{{" + "(" * 40 + "}}", "job.yaml, line 1: more than 32 parentheses are inside each other.", ""),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, told: str, todo: str) -> None:
    with pytest.raises(Rejected) as caught:
        fill(text)
    assert caught.value.message == told
    assert caught.value.hint == (todo or "A file that is no template, and has {{ in it, is read with --no-template.")


@given(st.text(alphabet='{}-.|()"` \nabnif+%s012', max_size=60))
def test_any_text_is_filled_or_refused(text: str) -> None:
    with contextlib.suppress(Rejected):  # any other error is one of ours
        assert isinstance(fill(text), str)
