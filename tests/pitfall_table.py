"""`pytest --pitfalls`: the tests of what real Caffe files do (tests/pitfalls.toml), and a table of the rows at the end.

A test says which row it shows with @pytest.mark.pitfall("row", 12) or ("fold", 3). A row passes if it has a test and all its
tests pass; a skipped test shows nothing. Slow tests take part only where `-m` asks for them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

Row = tuple[str, int]  # the table, and the number in it
TITLES: dict[Row, str] = {
    (table, int(number)): title
    for table, rows in tomllib.loads(Path(__file__).with_name("pitfalls.toml").read_text("utf-8")).items()
    for number, title in rows.items()
}
SHOWN = pytest.StashKey[set[Row]]()  # the rows that have a test that is not slow
WHOLE = pytest.StashKey[bool]()  # whether all of the suite was collected
_ORDER = ("failed", "skipped", "passed")  # the worst of a test's setup, call and teardown counts


def pytest_addoption(parser):
    group = parser.getgroup("deepmerge")
    group.addoption(
        "--pitfalls", action="store_true", help="only the tests of tests/pitfalls.toml, and a table of its rows"
    )


def pytest_configure(config):
    if config.getoption("pitfalls") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(), "pitfall-table")


@pytest.hookimpl(hookwrapper=True)
def pytest_collection_modifyitems(config, items):
    marked = [item for item in items if item.get_closest_marker("pitfall")]
    for item in marked:
        item.user_properties += [("pitfall", _row(mark, item)) for mark in item.iter_markers("pitfall")]
    default = [item for item in marked if not item.get_closest_marker("slow")]
    config.stash[SHOWN] = {row for item in default for name, row in item.user_properties if name == "pitfall"}
    config.stash[WHOLE] = config.args == config.getini("testpaths") and not config.getoption("ignore")
    yield  # `-m` and `-k` choose
    if config.getoption("pitfalls"):
        others = [item for item in items if not item.get_closest_marker("pitfall")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.get_closest_marker("pitfall")]


def _row(mark: pytest.Mark, item: pytest.Item) -> Row:
    if mark.args not in TITLES or mark.kwargs:
        raise pytest.UsageError(f"{item.nodeid}: pitfall{mark.args} is no row of tests/pitfalls.toml")
    return mark.args


class Table:
    """The outcome of each row's tests, printed at the end."""

    def __init__(self):
        self.outcomes: dict[Row, dict[str, str]] = {row: {} for row in TITLES}  # test → outcome
        self.reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report):
        for name, row in report.user_properties:
            if name == "pitfall":
                tests = self.outcomes[tuple(row)]
                tests[report.nodeid] = min(tests.get(report.nodeid, "passed"), report.outcome, key=_ORDER.index)
        if report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session, exitstatus):
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and any(
            self._verdict(row) != "pass" for row in TITLES
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("pitfalls")
        width = max(map(len, TITLES.values()))
        for table, number in TITLES:
            verdict = self._verdict((table, number))
            count = len(self.outcomes[table, number])
            text = f"{table:>4} {number:2}  {TITLES[table, number]:{width}}  {count:4}  "
            terminalreporter.write(text)
            terminalreporter.line(verdict, green=verdict == "pass", red=verdict != "pass")
        good = Counter(table for table, number in TITLES if self._verdict((table, number)) == "pass")
        every = Counter(table for table, _ in TITLES)
        terminalreporter.line(" and ".join(f"{good[table]} of {every[table]} {table}s" for table in every) + " pass")

    def _verdict(self, row: Row) -> str:
        tests = self.outcomes[row]
        counts = Counter(tests.values())
        if not tests:
            return "FAIL: no test"
        if counts["failed"]:
            return f"FAIL: {counts['failed']} failed"
        if counts["skipped"]:
            reason = next((self.reasons[test] for test in tests if test in self.reasons), "")
            return f"FAIL: {counts['skipped']} skipped: {reason}"
        return "pass"
