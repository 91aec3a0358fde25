"""Names of layers, blobs and networks: any characters and any bytes, the troublesome ones more often."""

from __future__ import annotations

from hypothesis import strategies as st

from deepmerge.names import decoded

# What ends a line, a string, a comment or a path, turns or hides text, or is not UTF-8
TROUBLE = (
    "\n",
    "\nbase_lr: 5\n",
    "\r",
    "\0",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\x9b",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u200f",
    "\u2060",
    "\ufeff",
    "\U000e0041",
    "\udcff",
    "\udced\udca0\udc80",
    "\\",
    '"',
    "'",
    "$(x)",
    "`x`",
    "#",
    "%",
    "bytes:",
    "</script>",
    "&amp;",
    "../",
    "..",
    ".",
    "-",
    " ",
    "A",
    "a",
    "é" * 200,
)
NAMES = st.one_of(
    st.text(max_size=20),
    st.binary(max_size=20).map(decoded),
    st.lists(st.sampled_from(TROUBLE) | st.sampled_from("abc"), max_size=5).map("".join),
).map(lambda name: decoded(name.encode("utf-8", "surrogateescape")))  # pieces of bytes may make a character
