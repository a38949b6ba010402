"""What the graders' proof has to show at the end of a run: which check kills which bug, for each chapter."""

import pytest

KILL_MATRIX = "kill matrix"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrices that tests have recorded as a property, by whichever worker."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, matrix in getattr(report, "user_properties", ()):
                if name == KILL_MATRIX:
                    terminalreporter.write_line(matrix)
