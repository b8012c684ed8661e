"""What of a result is read where: all of it from one place, or a piece from each that its paths went to. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from skrei_domain.destinations import STORE
from skrei_domain.node_results import LOCAL_DIRECTORY, left_id
from skrei_domain.portions import DIVIDED, heard
from skrei_kit.tokens import Elsewhere


@dataclass(frozen=True, slots=True)
class Piece:
    """An archive of a result. `published` says where it lies (`Type`, `Params`); None: in Skrei's own store.

    `paths` are the result paths that are in it: empty for what its task left beside those of the others, None where
    there are no others. `left` is how its node knows one that stays there.
    """

    digest: str
    size: int
    published: Mapping[str, Any] | None = None
    paths: tuple[str, ...] | None = None
    left: str = ""

    @property
    def at(self) -> Elsewhere | None:
        """Where the publisher's door reads it: None for Skrei's own store.

        Of one that stays on its node that store has what was told of it.
        """
        if self.published is None or self.published["Type"] == LOCAL_DIRECTORY:
            return None
        return Elsewhere(self.published["Type"], self.published["Params"], self.size, self.paths is not None)


def pieces(execution_id: str, published: Mapping[str, Any] | None, digest: str, size: int, *, own: bool) -> list[Piece]:
    """Return what a result is read in, what holds its streams first; `own`: what went to Skrei's own store is there."""
    if published is None or published["Type"] != DIVIDED:
        return [Piece(digest, size, published, left=execution_id)]
    found, here = heard(published["Params"]), count()
    return [
        Piece(
            each.digest,
            each.size,
            None if each.publisher == STORE else {"Type": each.publisher, "Params": each.params},
            each.paths,
            left_id(execution_id, next(here)) if each.publisher == LOCAL_DIRECTORY else "",
        )
        for each in found
        if own or each.publisher != STORE
    ]


def left_place(published: Mapping[str, Any] | None, execution_id: str, left: str) -> str | None:
    """Return the folder in which what a node knows as `left` stays there; None for what does not."""
    for piece in pieces(execution_id, published, "", 0, own=False) if published is not None else ():
        if piece.left == left and piece.published is not None and piece.published["Type"] == LOCAL_DIRECTORY:
            return str(piece.published["Params"]["Path"])
    return None


def said(found: list[Piece]) -> Piece | None:
    """Return the piece that holds what was said; None where that is not kept any more."""
    return next((piece for piece in found if not piece.paths), None)


def whole(published: Mapping[str, Any] | None, *, own: bool) -> bool:
    """Whether all of a result is kept that went to several places."""
    if published is None or published["Type"] != DIVIDED:
        return True
    return own or all(each.publisher != STORE for each in heard(published["Params"]))
