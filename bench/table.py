"""One table per program: for people, or with ``--json`` as one object for programs."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable

import media.rtp

Value = str | int | float


def machine() -> str:
    """The machine's shape in a line, and whether the packet path runs compiled (setup.py)."""
    path = "compiled" if str(media.rtp.__file__).endswith(".so") else "not compiled"
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {system}, packet path {path}"


@dataclass(slots=True)
class Table:
    """Rows of figures under a title. ``notes`` say what a reader must know to compare them, ``extra`` gives programs
    the figures in them."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Value]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Value] = field(default_factory=dict)

    def add(self, *values: Value) -> None:
        """Add a row, one value per column."""
        self.rows.append(values)

    def print(self, *, as_json: bool) -> None:
        """Write to standard output."""
        if as_json:
            rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
            facts = {"title": self.title, "machine": machine(), "rows": rows, "notes": self.notes}
            print(json.dumps({**facts, **({"extra": self.extra} if self.extra else {})}))
            return
        table = RichTable(title=self.title, caption=machine(), title_justify="left", caption_justify="left")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="left" if index == 0 else "right")
        for row in self.rows:
            table.add_row(*(f"{value:,.3g}" if isinstance(value, float) else str(value) for value in row))
        console = Console()
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", highlight=False)
