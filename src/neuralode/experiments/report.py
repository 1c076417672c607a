"""A run's tables and pictures as one self-contained page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..whole import write_text

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fdfdfc; --line: #d9d9d6; --soft: #6b6b68; --mark: #eaf2f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e6e3; --paper: #18191a; --line: #3a3b3c; --soft: #a5a39f; --mark: #203040; }
  img { background: #fff; border-radius: 4px; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.25rem; margin: 2.8rem 0 .4rem; }
p { max-width: 46rem; margin: .5rem 0; } .soft { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; font-size: .92rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem; }
th, td { padding: .32rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: .2rem; }
tr.ours td { background: var(--mark); }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .35rem; max-width: 46rem; }
"""


@dataclass(frozen=True)
class Table:
    """Columns, and rows of cells that are text already; `ours` numbers the rows to be marked."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    ours: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, tables, and pictures (file, caption) in this order."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[tuple[Path, str], ...] = field(default=())


def write_report(path: Path, title: str, text: Sequence[str], sections: Sequence[Section]) -> Path:
    """Write the page to `path`, pictures inside it: one file that needs no other, nor a network."""
    body = [f"<h1>{html.escape(title)}</h1>", *(f'<p class="soft">{html.escape(line)}</p>' for line in text)]
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        body += [f"<p>{html.escape(line)}</p>" for line in section.text]
        body += [_table(table) for table in section.tables]
        body += [_picture(*picture) for picture in section.pictures]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
    write_text(path, page)
    return path


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    rows = []
    for place, row in enumerate(table.rows):
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        rows.append(f'<tr class="ours">{cells}</tr>' if place in table.ours else f"<tr>{cells}</tr>")
    caption = f"<caption>{html.escape(table.title)}</caption>"
    return f'<div class="wide"><table>{caption}<tr>{head}</tr>{"".join(rows)}</table></div>'


def _picture(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
