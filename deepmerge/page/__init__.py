"""One HTML page that shows what a conversion has done."""

from deepmerge.page.page import Files, make_page, write_page

__all__ = ["Files", "make_page", "write_page"]
