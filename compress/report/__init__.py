"""``report.html``: the figures and pictures of a run in one self-contained HTML file."""

from compress.report.page import REPORT, write_report

__all__ = ["REPORT", "write_report"]
