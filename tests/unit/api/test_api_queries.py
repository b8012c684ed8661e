import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from skrei_domain.errors import Invalid
from skrei_orchestrator_api import queries


def request(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": [], "method": "GET", "path": "/"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("True", True), ("1", True), ("false", False), ("False", False), ("0", False), ("", False)],
)
@pytest.mark.row("1.4/flags-in-any-spelling")
def test_truth_values_are_read_in_every_clients_spelling(text: str, expected: bool) -> None:
    assert queries.flag(request(f"reverse={text}"), "reverse") is expected


def test_other_texts_are_no_truth_values() -> None:
    with pytest.raises(Invalid, match="reverse: 'maybe'; allowed: true, false"):
        queries.flag(request("reverse=maybe"), "reverse")


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "9" * 30, "%C2%B2"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="allowed: a whole number from 0"):
        queries.number(request(f"since={text}"), "since", high=2**40)


def test_a_limit_beyond_one_answer_is_cut() -> None:
    assert queries.limit(request("limit=1000000")) == queries.MAX_PAGE
    assert queries.limit(request("limit=0")) == queries.limit(request("")) == 0


@pytest.mark.row("B/selector")
def test_repeated_selectors_must_all_hold() -> None:
    assert len(queries.selector(request("labels=a%3Db&labels=!c&labels="))) == 2
    with pytest.raises(Invalid, match="labels: 'a in \\('"):
        queries.selector(request("labels=a%20in%20("))


def test_a_paging_token_comes_back_as_it_went_out() -> None:
    token = queries.token_out("jobs", "created_at", 1, "j-1")
    assert queries.token_in(token, "jobs", str, int, str) == ("created_at", 1, "j-1")
    assert queries.token_in("", "jobs", str) is None


@pytest.mark.parametrize(
    "token",
    ["x", "!", "\0", "é", "Ok46MTA6Nw", queries.token_out("history", 1, 2), queries.token_out("jobs", "a", "b"),
     queries.token_out("jobs", -1, 1), queries.token_out("jobs", 2**70, 1), queries.token_out("jobs", 1), "W" * 9_000],
)  # fmt: skip
@pytest.mark.row("1.5/bad-token")
def test_a_token_that_was_not_given_out_here_is_refused(token: str) -> None:
    with pytest.raises(Invalid, match="next_token: not one that this server gave out"):
        queries.token_in(token, "jobs", int, int)


@pytest.mark.row("1.5/offset-tokens")
def test_a_token_of_the_original_is_read() -> None:
    assert queries.offset_in("Ok46MTA6Nw") == ("", False, 10, 7)
    assert queries.offset_in(base64.urlsafe_b64encode(b"created_at:Y:5:20").decode()) == ("created_at", True, 5, 20)


@given(st.text(max_size=40) | st.text(max_size=30).map(lambda text: base64.urlsafe_b64encode(text.encode()).decode()))
def test_other_texts_are_none_and_break_nothing(text: str) -> None:
    found = queries.offset_in(text)
    assert found is None or (found.limit < 10**7 and found.offset < 10**7)


def test_our_own_tokens_are_none_of_the_originals() -> None:
    assert queries.offset_in(queries.token_out("jobs", "created_at", 0, 10, 5, "j-1")) is None
