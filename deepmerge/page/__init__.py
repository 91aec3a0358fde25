"""One HTML page that shows what a conversion has done."""

from deepmerge.page.page import Files, write_page

__all__ = ["Files", "write_page"]
