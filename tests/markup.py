"""What pages of HTML must be: tags that are closed as they were opened."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "line", "circle", "polyline"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed but not open, and keeps what is left open."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag
