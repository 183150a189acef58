"""``python -m tests.documents``: write the pages that are made from the code."""

from tests.documents.pages import PAGES

for path, made in PAGES.items():
    path.write_text(made(), encoding="utf-8")
