"""Fused images -> scores, tables, plots and a report page."""
