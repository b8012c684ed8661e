"""What a server answers, and what the execution says of it."""

import asyncio

import pytest
from aiohttp import web

from skrei_plugin_api.storage import StageFailed, StageProblem
from skrei_plugin_api.testing import eventually
from skrei_plugin_s3.failures import Asked, code_in, passes, refused, region_in
from skrei_plugin_s3.wire import Wire, check
from tests.support.web import serving

ONE = Asked("s3://data/a", "http://h:9000", "data", "us-east-1")
ALL = Asked("s3://data", "S3", "data", "us-east-1", listing=True)
OLD = Asked("s3://data/a", "S3", "data", "us-east-1", version="v1")
NOBODY = Asked("s3://data/a", "S3", "data", "us-east-1", anonymous=True)


@pytest.mark.row("6.1/s3-errors")
@pytest.mark.parametrize(
    ("asked", "status", "code", "problem", "message"),
    [
        (ONE, 404, "NoSuchBucket", StageProblem.MISSING, "there is no bucket data at http://h:9000"),
        (ONE, 404, "NoSuchKey", StageProblem.MISSING, "there is no object s3://data/a at http://h:9000"),
        (ONE, 404, "", StageProblem.MISSING, "there is no object s3://data/a at http://h:9000"),
        (OLD, 404, "NoSuchVersion", StageProblem.MISSING, "s3://data/a has no version v1 (404 NoSuchVersion)"),
        (OLD, 400, "InvalidArgument", StageProblem.MISSING, "s3://data/a has no version v1 (400 InvalidArgument)"),
        (ONE, 403, "InvalidAccessKeyId", StageProblem.DENIED,
         "http://h:9000 does not take the credentials of this node (403 InvalidAccessKeyId)"),
        (ONE, 403, "SignatureDoesNotMatch", StageProblem.DENIED,
         "http://h:9000 does not take the credentials of this node (403 SignatureDoesNotMatch)"),
        (ONE, 400, "ExpiredToken", StageProblem.DENIED,
         "http://h:9000 does not take the credentials of this node (400 ExpiredToken)"),
        (ONE, 403, "AccessDenied", StageProblem.DENIED,
         "http://h:9000 refuses s3://data/a with the credentials of this node (403 AccessDenied)"),
        (ALL, 403, "AccessDenied", StageProblem.DENIED,
         "S3 refuses s3://data with the credentials of this node (403 AccessDenied)"),
        (NOBODY, 403, "", StageProblem.DENIED, "S3 refuses s3://data/a without credentials (403)"),
        (ONE, 412, "PreconditionFailed", StageProblem.INVALID, "s3://data/a changed after it was listed"),
        (ONE, 307, "", StageProblem.INVALID, "http://h:9000 answers 307: what was asked for is elsewhere"),
        (OLD, 301, "PermanentRedirect", StageProblem.INVALID,
         "the bucket data is not in the region us-east-1 (301 PermanentRedirect)"),
        (ONE, 403, "InvalidObjectState", StageProblem.INVALID,
         "s3://data/a is archived (403 InvalidObjectState)"),
        (ONE, 400, "Mystery\n!", StageProblem.INVALID,
         "http://h:9000 answers 400 Mystery\\u000a! where s3://data/a was asked for"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_as_it_is(asked: Asked, status: int, code: str, problem: StageProblem, message: str) -> None:
    assert not passes(status, code)
    error = refused(asked, status, code)
    assert (error.code, error.message, error.retryable) == (problem, message, False)


def test_where_a_bucket_is_said_to_be_is_passed_on() -> None:
    error = refused(ONE, 400, "AuthorizationHeaderMalformed", "eu-west-1")
    assert "is not in the region us-east-1 but in eu-west-1" in error.message


@pytest.mark.row("6.1/s3-errors")
@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "InternalError"), (503, "SlowDown"), (503, ""), (429, ""), (400, "RequestTimeout"), (502, ""), (504, "")],
)
def test_what_may_be_over_soon_is_tried_again(status: int, code: str) -> None:
    assert passes(status, code)


@pytest.mark.parametrize(
    ("body", "code", "region"),
    [
        (b"<Error><Code>NoSuchKey</Code><Key><Code>x</Code></Key></Error>", "NoSuchKey", ""),
        (b"<Error><Code> X </Code><Region>eu-west-1</Region>", "X", "eu-west-1"),
        (b"<html>", "", ""),
        (b"\xff<Code>" + b"x" * 200 + b"</Code>", "", ""),
    ],
)
def test_the_code_of_an_answer_is_found(body: bytes, code: str, region: str) -> None:
    assert (code_in(body), region_in(body)) == (code, region)


async def test_an_error_is_told_whatever_pieces_it_comes_in() -> None:
    begun = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=404)
        await response.prepare(request)
        await response.write(b"<Error><Code>NoSuch")
        await begun.wait()
        await response.write(b"Bucket</Code></Error>")
        return response

    app = web.Application()
    app.router.add_get("/data/a", answer)
    wire = Wire(None)
    async with serving(app) as url, wire.request("GET", f"{url}/data/a", {}) as response:
        checked = asyncio.ensure_future(check(response, ONE))
        await eventually(lambda: response.content.total_bytes > 0)
        begun.set()
        with pytest.raises(StageFailed, match="there is no bucket data at http://h:9000"):
            await checked
    await wire.close()
