"""The pages' templates, and what they need to show blocks of a section."""

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from medlora.report.sections import Block, Figure, Picture
from medlora.report.wording import clean_text, format_count


class Numbering:
    """Counts a page's figures and tables in the order in which they are shown."""

    def __init__(self) -> None:
        self.n_figures = 0
        self.n_tables = 0

    def figure(self) -> Markup:
        """The next figure's number, as it stands before its caption."""
        self.n_figures += 1
        return Markup("<b>Figure {}.</b>").format(self.n_figures)

    def table(self) -> Markup:
        """The next table's number, as it stands before its caption."""
        self.n_tables += 1
        return Markup("<b>Table {}.</b>").format(self.n_tables)


@cache
def load_template(name: str) -> Template:
    """One of the package's templates; all text that it is given is escaped."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_read_source),
    )
    environment.filters |= {
        "count": format_count,
        "clean": clean_text,
        "lines": clean_lines,
        "kind": lambda block: type(block).__name__,
        "rows": arrange_blocks,
        "source": encode_picture,
        "png": encode_image,
        # A section has checked its drawings: they run nothing and refer to nothing outside.
        "drawing": lambda svg: Markup(svg),  # noqa: S704
        "words": lambda command: re.split(r"(\s+)", command.strip()),
    }
    return environment.get_template(name)


def _read_source(name: str) -> str:
    return files("medlora.report").joinpath(name).read_text(encoding="utf-8")


def clean_lines(text: str) -> str:
    r"""Text with its line breaks, each line cleaned as `clean_text` does.

    Example:
        >>> clean_lines("one  line\n  two \x00")
        'one line\ntwo \ufffd'
    """
    return "\n".join(clean_text(line) for line in text.splitlines()).strip("\n")


def arrange_blocks(blocks: Sequence[Block]) -> list[tuple[Block, ...]]:
    """Blocks as they follow one another down the page: two half-wide figures share a row."""
    rows: list[tuple[Block, ...]] = []
    for block in blocks:
        last = rows[-1] if rows else ()
        if _is_half(block) and len(last) == 1 and _is_half(last[0]):
            rows[-1] = (*last, block)
        else:
            rows.append((block,))
    return rows


def _is_half(block: Block) -> bool:
    return isinstance(block, Figure) and block.is_half


def encode_picture(picture: Picture) -> str:
    """A picture as the address under which a page holds it."""
    return encode_image(picture.content, picture.media_type)


def encode_image(content: bytes, media_type: str = "image/png") -> str:
    """An image file as the address under which a page holds it."""
    return f"data:{media_type};base64,{b64encode(content).decode('ascii')}"


def make_writable(page: str) -> str:
    """A page without lone surrogates, which a file name that is not UTF-8 may bring."""
    return page.encode("utf-8", "replace").decode("utf-8")
