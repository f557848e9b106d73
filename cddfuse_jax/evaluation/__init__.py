"""Folders of fused images to scores, tables, plots and a report page.

The names stand here so that commands can list them without importing the scores.
"""

REPORT_FILES = ("scores.csv", "means.csv", "summary.json", "report.html")
PROTOCOL_NAMES = ("release", "corrected", "vifb", "papers")  # of metrics.protocols
