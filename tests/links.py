#!/usr/bin/env python3
"""Looks whether what the pages below a directory link to is there: tests/links.py DIRECTORY

Pages are Markdown files; files and directories that they link to must exist, and so must the titles behind a "#". Links
to the web are not followed.
"""

import re
import sys
from pathlib import Path

LINK = re.compile(r'\]\(([^)\s]+)\)|src="([^"]+)"')
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LEFT_OUT = {"target", ".git", "node_modules"}


def anchors(page: Path) -> set[str]:
    """The names of a page's titles in links, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {name.replace(" ", "-") for name in kept}


def dead(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for match in LINK.finditer(CODE.sub("", page.read_text())):
        link = match.group(1) or match.group(2)
        if re.match(r"[a-z]+:", link):
            continue
        file, _, title = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (title and title not in anchors(target)):
            found.append(link)
    return found


def main(directory: str) -> int:
    pages = [
        page
        for page in sorted(Path(directory).rglob("*.md"))
        if not LEFT_OUT.intersection(page.relative_to(directory).parts)
    ]
    wrong = [f"{page}: {link}" for page in pages for link in dead(page)]
    print("\n".join(wrong) if wrong else f"{len(pages)} pages: every link leads somewhere")
    return 1 if wrong or not pages else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
