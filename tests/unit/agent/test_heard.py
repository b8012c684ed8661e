"""What the control plane says to a node, read."""

from structlog.testing import capture_logs

from skrei_compute_agent.heard import heard
from skrei_domain.envelope import wrap
from skrei_domain.messages import LeftShow


def test_what_cannot_be_read_is_told_of_and_is_nothing() -> None:
    said = LeftShow(request_id="r-1", left="e-1")
    assert heard(LeftShow, wrap(said, type_=said.type, source="test", id_="r-1")) == said
    with capture_logs() as told:
        assert [heard(LeftShow, each) for each in (b"", b"{}", b"\xff", b'{"data": {}}')] == [None] * 4
    assert [(line["event"], line["wanted"]) for line in told] == [("message_unreadable", "LeftShow")] * 4
