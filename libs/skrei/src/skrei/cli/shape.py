"""How a list or one thing is printed: what `--output`, `--pretty`, `--hide-header` and `--wide` say."""

from dataclasses import dataclass

from skrei.cli.grammar import Values


@dataclass(frozen=True, slots=True)
class Shape:
    """One of the formats, and its details."""

    output: str = "table"
    pretty: bool = True
    header: bool = True
    wide: bool = False

    @classmethod
    def of(cls, values: Values) -> "Shape":
        """Read the options `flags.TABLE` or `flags.OBJECT`."""
        return cls(
            output=values.text("output"),
            pretty=values.flag("pretty"),
            header=not values.flag("hide-header"),
            wide=values.flag("wide"),
        )

    @property
    def is_rows(self) -> bool:
        """Whether rows are printed, for people or as CSV, and not the document of the API."""
        return self.output in ("table", "csv")


PLAIN_TABLE = Shape()
"""A table for people."""
