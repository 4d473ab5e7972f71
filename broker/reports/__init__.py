"""Inspection reports (DOMAIN section 7): twenty questions, answered from events, routing codes and quality flags, never from content.

``projection`` turns events into facts and counts; ``catalogue`` lists the reports; each is data and a pure function from counts to tables and plots.
"""
