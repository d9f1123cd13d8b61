"""Pages of the site from outside of docs/: the README is its front page, and links to and from them hold."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
NOTEBOOKS = "examples/notebooks/"
NO_PAGE = re.compile(r"(?<!!)\[([^\]]+)\]\((?:\.\./)?(?:examples/(?:notebooks/)?|CITATION\.cff)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and the notebooks from outside."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text("utf-8")))
    for notebook in sorted((ROOT / NOTEBOOKS).glob("*.ipynb")):
        target = f"notebooks/{notebook.name}"
        files.append(File.generated(config, target, content=notebook.read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the repository as links of the site; one to what is no page of it becomes its text."""
    outside = page.file.src_uri in PAGES.values()
    markdown = NO_PAGE.sub(r"\1", markdown)
    for name, target in PAGES.items():
        markdown = markdown.replace(f"]({name}" if outside else f"](../{name}", f"]({target}")
    markdown = markdown.replace(f"]({'' if outside else '../'}{NOTEBOOKS}", "](notebooks/")
    if outside:
        markdown = markdown.replace("](docs/decisions/)", "](decisions/README.md)").replace("](docs/", "](")
    return markdown
