"""Plots of reports' tables as SVG, made here: no script, no style attribute, readable in grey and in print."""

from broker.reports.plots.drawing import draw_plot
from broker.reports.plots.model import Plot, PlotForm

__all__ = ["Plot", "PlotForm", "draw_plot"]
