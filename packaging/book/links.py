"""links.py DIRECTORY: every link in its HTML pages to a page, file or heading of the book leads somewhere."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.names, self.links = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.names.add(attributes.get("id"))
        target = attributes.get("href") if tag == "a" else attributes.get("src")
        if target:
            self.links.append(target)


root = Path(sys.argv[1]).resolve()
pages = {path: Page(path) for path in root.rglob("*.html")}
broken, count = [], 0
for path, page in pages.items():
    # The page for errors has links from the root of a server; the printed one repeats all others at another place.
    if path.name in ("404.html", "print.html", "toc.html"):
        continue
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        count += 1
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        known = target in pages and (not parts.fragment or unquote(parts.fragment) in pages[target].names)
        if not known and (parts.fragment or not target.is_file()):
            broken.append(f"{path.relative_to(root)}: {link}")
print(f"{len(pages)} pages, {count} links within the book, {len(broken)} broken")
sys.exit("\n".join(broken) if broken or not count else 0)
