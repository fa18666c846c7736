"""A page as a browser would read it."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "line", "circle", "col"}
EVIL = "<script>alert('x')</script>"


class PageReader(HTMLParser):
    """Collects tags, attributes and text, and checks that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.path: list[str] = []
        self.feed(page)
        self.close()
        assert self.path == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.path.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((tuple(self.path), " ".join(data.split())))

    def all_text(self) -> str:
        return " ".join(text for path, text in self.texts if "style" not in path)

    def text_in(self, tag: str) -> list[str]:
        return [text for path, text in self.texts if tag in path]

    def attributes(self, tag: str, key: str) -> list[str]:
        return [attributes[key] for each, attributes in self.tags if each == tag]

    def rows(self, page: str) -> list[str]:
        """The text of every table row."""
        rows = re.findall(r"<tr>.*?</tr>", page, flags=re.DOTALL)
        return [PageReader(row).all_text() for row in rows]
