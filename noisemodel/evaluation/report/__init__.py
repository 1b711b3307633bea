"""The page of viewnoise: one HTML file with charts, pictures and tables, which needs no network."""

from noisemodel.evaluation.report.page import SECTIONS, report_page

__all__ = ["SECTIONS", "report_page"]
