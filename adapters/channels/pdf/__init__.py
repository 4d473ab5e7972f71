"""The readable PDF of a received referral: what a duty worker needs to know, in two minutes, most urgent first."""

from adapters.channels.pdf.document import render_pdf

__all__ = ["render_pdf"]
