"""A verification as a table for a terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from classifsae.pipeline.verify import Verification


def printed(found: Verification) -> RenderableType:
    """A row per stage, then the result and how the run was made otherwise."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("stage", overflow="fold")
    table.add_column("checked", overflow="fold")
    table.add_column("result", overflow="fold", ratio=1)
    table.add_column("seconds", justify="right", no_wrap=True)
    for row in found.rows:
        style = "bold" if row.differs else "dim" if row.note else ""
        cells = (row.stage, row.checked, "\n".join(row.differs) or row.result, f"{row.seconds:.1f}")
        table.add_row(*map(Text, cells), style=style)
    return Group(table, Text(found.finding, style="bold"), *map(Text, found.elsewhere))
