"""A family on one page: gathered as plain data, then drawn.

`gather` reads everything into a `Report`. `page` makes an HTML file of it, `figures` the figures
for a paper.
"""

from anew.report.content import Report
from anew.report.gathering import answer_of, gather
from anew.report.writing import write

__all__ = ["Report", "answer_of", "gather", "write"]
