"""``report.html``: the figures and pictures of a run in one file that loads nothing."""

from compress.report.page import REPORT, write_report

__all__ = ["REPORT", "write_report"]
