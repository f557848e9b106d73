"""Folders of fused images to scores, tables and a report page.

Commands list these names without importing the scores.
"""

DEFAULT_BASELINES = ("max", "mean")
REPORT_FILES = ("scores.csv", "means.csv", "summary.json", "report.html")
