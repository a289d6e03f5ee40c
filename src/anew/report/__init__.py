"""What a family shows, on one page that needs nothing else: gathered as plain data, then drawn.

`gather` reads everything into a `Report`; `page.render` makes the page of it, `figures` the
pictures for a paper.
"""

from anew.report.content import Report
from anew.report.gathering import answer_of, gather
from anew.report.writing import write

__all__ = ["Report", "answer_of", "gather", "write"]
