"""One HTML page that shows what a conversion has done."""

from deepmerge.page.page import make_page

__all__ = ["make_page"]
