"""Fused images -> scores, tables, plots and a report page."""

REPORT_FILES = ("scores.csv", "means.csv", "summary.json", "report.html")
