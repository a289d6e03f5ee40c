"""What anew draws in a terminal: progress, tables, the lineage tree and learning curves.

If the output is no terminal, progress is plain lines.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from anew.cli.streams import Terminal, tied
from anew.core.callbacks import Callback
from anew.core.recipe import Recipe
from anew.core.spec import Spec
from anew.core.text import clean, in_digits
from anew.family.differences import distinctions

if TYPE_CHECKING:
    from anew.evaluation import Row

LINE_EVERY_SECONDS = 2.0
# A header of so many characters is not broken.
_HEADER = 10
# Names that are broken have at least this part of the width.
_SHARE_OF_NAMES = 4
_BAR = 16
"""The width of a progress bar that leaves room for the rest of its line in 80 columns."""


class Lines(Callback):
    """Prints a lineage's training in lines: one for an epoch, at most one every two seconds.

    `say` prints a line. `heading`, such as the recipe, is printed before the first line: an error
    before that stands alone.
    """

    def __init__(
        self, say: Callable[[str], None], heading: str = "", *, several: bool = False
    ) -> None:
        self._print = say
        self._heading = heading
        self._last_lines: dict[str, float] = {}
        self._groups, self._several = several, several

    def log(self, text: str) -> None:
        """Print a line."""
        self._print_heading()
        self._print(text)

    def _which(self, spec: Spec) -> str:
        """Return the name of one of several networks, or nothing if a single one is trained."""
        return f"{spec.origin}, seed {spec.seed}, " if self._several else ""

    def _print_heading(self) -> None:
        if self._heading:
            self._print(self._heading)
            self._heading = ""

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        """Print which networks are trained, and how many steps are left."""
        self._several = self._groups or len(specs) > 1
        self.log(
            f"{_titles(specs)}: {steps - done:,} of {steps:,} steps to go, {batch_size} examples "
            f"each"
        )

    def step_done(self) -> None:
        """Say nothing."""

    def epoch_done(self, spec: Spec, row: dict[str, Any]) -> None:
        """Print an epoch's line of metrics."""
        epochs = spec.training.epochs
        if (
            row["epoch"] == epochs
            or time.monotonic() - self._last_lines.get(spec.id, 0.0) > LINE_EVERY_SECONDS
        ):
            self._last_lines[spec.id] = time.monotonic()
            self.log(f"  {self._which(spec)}epoch {row['epoch']}/{epochs}: {_epoch_in_words(row)}")

    def network_done(self, spec: Spec, record: dict[str, Any], *, found: bool) -> None:
        """Print a finished network's test error."""
        if "given" in record:
            origin = "given"
        elif found:
            origin = "found, already trained"
        else:
            origin = f"{record['seconds']:.1f} s"

        seed = f", seed {spec.seed}" if self._several else ""
        score = f"test error {in_digits(record['test'].get('error'), 2)} %"
        if "perplexity" in record["test"]:
            score = f"test perplexity {in_digits(record['test']['perplexity'], 2)}"
        self.log(f"{_title(spec)}{seed}: {score} ({origin})")


class _OneBar(Progress):
    """A bar with its rate and the time left, and the last epoch's metrics below it."""

    def get_renderables(self) -> Iterable[Table | Text]:
        """Return the bar, and its metrics in a line of their own: 80 columns hold either."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["metrics"]:
                yield Text(f"  {task.fields['metrics']}", overflow="ellipsis", no_wrap=True)


class Bars(Lines):
    """Shows a lineage's training: a bar for the network in training, its rate, the time left."""

    def __init__(self, console: Terminal, heading: str = "") -> None:
        super().__init__(console.say, heading)
        self._bars = _OneBar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=_BAR),
            TextColumn("{task.percentage:>3.0f}%"),
            _Rate(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._task: Any = None

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        """Start a bar."""
        self._several = len(specs) > 1
        self._print_heading()
        self._bars.start()
        self._task = self._bars.add_task(
            _short_title(specs),
            total=steps,
            completed=done,
            metrics="",
            batch_size=batch_size,
            found=done,
        )

    def step_done(self) -> None:
        """Move the bar by a step."""
        self._bars.advance(self._task)

    def epoch_done(self, spec: Spec, row: dict[str, Any]) -> None:
        """Show the epoch's metrics behind the bar."""
        metrics = (
            f"{self._which(spec)}epoch {row['epoch']}/{spec.training.epochs} {_epoch_in_words(row)}"
        )
        self._bars.update(self._task, metrics=metrics)

    def network_done(self, spec: Spec, record: dict[str, Any], *, found: bool) -> None:
        """Replace the bar by a line."""
        self.close()
        super().network_done(spec, record, found=found)

    def close(self) -> None:
        """Remove the bar, so that an error can be printed."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        self._bars.stop()


class Quiet(Lines):
    """Says nothing of a training but what went wrong."""

    def log(self, text: str) -> None:
        """Say nothing."""

    def training_started(
        self, specs: Sequence[Spec], steps: int, done: int, batch_size: int
    ) -> None:
        """Say nothing."""

    def epoch_done(self, spec: Spec, row: dict[str, Any]) -> None:
        """Say nothing."""


class _Rate(ProgressColumn):
    """Examples a second."""

    def render(self, task: Task) -> Text:
        rate = (task.speed or 0) * task.fields["batch_size"]
        return Text(f"{rate:,.0f} examples/s")


def recipe_in_words(recipe: Recipe, out: Path) -> str:
    """Return two lines: what a recipe trains, and the file with all its settings."""
    teacher = ", ".join(recipe.teacher or ())
    if not teacher and recipe.teacher_model is not None:
        teacher = recipe.teacher_model.name

    parts = {
        "model": recipe.model.name,
        "data": recipe.data.source,
        "teacher": teacher,
        "objective": ", ".join([recipe.objective.name, *recipe.siblings]),
        "generations": str(recipe.generations),
        "seed": ", ".join(map(str, [recipe.seed, *recipe.sibling_seeds])),
    }
    summary = "; ".join(f"{name} {value}" for name, value in parts.items() if value)
    file = out / "networks" / "ID" / "spec.json"

    return f"{summary}\nall settings of a network: {file}, and `anew show {out} ID --json`"


def watcher(
    console: Terminal, heading: str = "", *, several: bool = False, quiet: bool = False
) -> Lines:
    """Return bars on a terminal; lines elsewhere, and if several groups are trained at once.

    With `quiet` nothing is said.
    """
    if quiet:
        return Quiet(console.say)
    if console.is_terminal and not several:
        return Bars(console, heading)
    return Lines(console.say, heading, several=several)


@contextmanager
def watching(
    console: Terminal, heading: str = "", *, several: bool = False, quiet: bool = False
) -> Generator[Lines]:
    """Watch a training, and remove its bars at the end, also before an error is printed."""
    lines = watcher(console, heading, several=several, quiet=quiet)
    try:
        yield lines
    finally:
        if isinstance(lines, Bars):
            lines.close()


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", numbers_from: int = 1
) -> Table:
    """Return a table whose columns from `numbers_from` on are aligned to the right.

    Texts are cleaned before they are measured, and none is read as rich's markup.
    """
    drawn = Table(
        title=Text(clean(title), style="table.title") if title else None,
        title_justify="left",
        pad_edge=False,
        box=None,
        header_style="bold",
    )
    for number, column in enumerate(columns):
        justify = "right" if number >= numbers_from else "left"
        drawn.add_column(Text(clean(column, "\n")), justify=justify, no_wrap=number > 0)
    for row in rows:
        drawn.add_row(*(Text(clean(cell)) for cell in row))
    return drawn


def listing(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table of names, numbers, and a description in the last column, which is folded."""
    drawn = table(columns, rows)
    drawn.columns[0].no_wrap = True
    drawn.columns[-1].justify = "left"
    drawn.columns[-1].no_wrap = False
    return drawn


def show_table(
    console: Terminal,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    numbers_from: int = 1,
) -> None:
    """Print a table below its title; where it is too wide, it goes on below itself.

    No cell is cut. A name of more than half the width takes several lines on a terminal; a log
    has it whole, and is as wide as that takes.
    """
    if title:
        console.note(clean(title), style="table.title")
    tables = folded(columns, rows, console.width, numbers_from, breaks_names=console.is_terminal)
    for number, drawn in enumerate(tables):
        if number:
            console.print()
        console.print(drawn, crop=False)


def folded(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    numbers_from: int = 1,
    *,
    breaks_names: bool = False,
) -> list[Table]:
    """Return a table as tables below each other, each as wide as a terminal's `width` at most.

    Each repeats the first column, which names the rows, and goes on with the next columns. Headers
    are broken between words if the table is too wide with whole ones. No cell is cut, so a table of
    one wide column may still be wider.
    """
    rows = [[clean(cell) for cell in row] for row in rows]
    if len(columns) > 1 and max((cell_len(row[0]) for row in rows), default=0) > width // 2:
        if breaks_names:
            rows = _with_broken_names(columns, rows, width)
        else:
            width = _measured(columns, rows, range(len(columns)))
    headers = list(columns)
    if _measured(headers, rows, range(len(columns))) > width:
        headers = _with_broken_headers(columns, rows)

    parts: list[list[int]] = [[0]]
    for number in range(1, len(columns)):
        if len(parts[-1]) > 1 and _measured(headers, rows, [*parts[-1], number]) > width:
            parts.append([0])
        parts[-1].append(number)

    tables: list[Table] = []
    for part in parts:
        drawn = table([headers[number] for number in part], ())
        for column, number in zip(drawn.columns, part, strict=True):
            column.justify = "right" if number >= numbers_from else "left"
            column.no_wrap = True
        for row in rows:
            drawn.add_row(*(Text(row[number]) for number in part))
        # Else rich cuts what is wider than the console.
        drawn.width = _measured(headers, rows, part)
        tables.append(drawn)
    return tables


def _with_broken_headers(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the headers in lines that are no longer than their columns' cells."""
    headers = [*columns[:1]]
    for number, column in enumerate(columns[1:], 1):
        cells = [cell_len(row[number]) for row in rows]
        longest = max([_HEADER, *cells, *(cell_len(word) for word in column.split())])
        headers.append(_broken(column, longest))
    return headers


def _with_broken_names(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[list[str]]:
    """Return the rows with their first cells in lines that leave room for the columns beside them.

    The lines end at blanks and at the signs between the words of a path.
    """
    beside = _measured(columns, rows, range(1, len(columns)))
    if width - beside < width // _SHARE_OF_NAMES:
        beside = max(_measured(columns, rows, [number]) for number in range(1, len(columns)))
    room = max(_HEADER, width - beside - 2)

    broken: list[list[str]] = []
    for name, *others in rows:
        lines = [""]
        for piece in re.findall(rf"[^\s/_.-]{{1,{room - 1}}}[\s/_.-]?|[\s/_.-]", name):
            if cell_len(lines[-1] + piece) > room:
                lines.append("")
            lines[-1] += piece
        broken.append(["\n".join(lines), *others])
    return broken


def _measured(headers: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> int:
    """Return how wide a table of some of the columns is, two spaces between them."""
    widths = [
        max(
            cell_len(line)
            for text in (headers[number], *(row[number] for row in rows))
            for line in text.split("\n")
        )
        for number in numbers
    ]
    return sum(widths) + 2 * (len(widths) - 1)


def _broken(text: str, width: int) -> str:
    """Return a text in lines of at most so many characters, if its words are no longer."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if cell_len(joined) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = joined
    return "\n".join(lines)


def show_scores(console: Terminal, rows: Sequence[Row], split: str) -> None:
    """Print the table of `anew evaluate`: generations, then ensembles."""
    # Scores exist only after torch is loaded; the command line itself starts without it.
    from anew.evaluation import score_table

    show_table(console, *score_table(rows), scores_title(rows, split), numbers_from=2)


def scores_title(rows: Sequence[Row], split: str) -> str:
    """Return the title of a table of scores: the split, and how many examples it has."""
    examples = rows[0].scores.examples if rows else 0
    return f"{split}, {examples:,} examples"


def lineage_tree(
    path: str, specs: Sequence[Spec], records: Mapping[str, dict[str, Any] | None]
) -> Tree:
    """Return the tree of networks, each below its chief teacher.

    `records` holds the record of each finished network, None of one that is not finished. What all
    networks share, their model and their seed, stands at the root: a line is to fit 80 columns.
    """
    models = {spec.model.name for spec in specs if not spec.is_soft_labels}
    seeds = {spec.seed for spec in specs if not spec.is_soft_labels}
    shared = [*models] if len(models) == 1 else []
    shared += [f"seed {seed}" for seed in seeds] if len(seeds) == 1 else []
    tree = Tree(Text.assemble((clean(path), "bold"), clean("  ".join(["", ", ".join(shared)]))))
    branches: dict[str, Tree] = {}
    missing = {one.id: one for spec in specs for one in spec.teachers if one.is_missing}
    if len(specs) > 1:
        branches = {one: tree.add(Text(f"{one}  is missing")) for one in sorted(missing)}
    labels = _labels(specs)
    for spec in sorted(specs, key=lambda spec: (spec.generation, spec.id)):
        record = records[spec.id]
        state = "not finished" if record is None else _tested(record["test"])
        if record is not None and spec.is_soft_labels:
            branches[spec.id] = tree.add(Text(clean(f"{spec.id}  {soft_labels_in_words(record)}")))
            continue

        parent = tree
        if spec.chief_teacher is not None:
            # A network that is shown alone has no branch for its teacher.
            parent = branches.get(spec.chief_teacher.id, tree)
        model = f"{spec.model.name}, " if len(models) > 1 else ""
        what = f"generation {spec.generation} ({model}{spec.origin})"
        seed = [f"seed {spec.seed}"] if len(seeds) > 1 else []
        own = [*seed, *labels[spec.id]]
        if spec.chief_teacher is not None and spec.chief_teacher.id in labels:
            # The line above says what the teacher has in common with it.
            taught = spec.chief_teacher
            above = {f"seed {taught.seed}", *labels[taught.id]}
            own = [part for part in own if part not in above]
        branches[spec.id] = parent.add(Text(tied(f"{spec.id}  {', '.join([what, *own])}: {state}")))
    return tree


def soft_labels_in_words(record: Mapping[str, Any]) -> str:
    """Return what is known of soft labels that stand in a network's place."""
    about = record.get("soft_labels", {})
    return (
        f"soft labels {record.get('given', '')}: {about.get('are', '')} of "
        f"{about.get('examples', '')} training examples"
    )


def _labels(specs: Sequence[Spec]) -> dict[str, list[str]]:
    """Return what tells each network from the others of its generation, beside what is said."""
    labels: dict[str, list[str]] = {}
    for generation in {spec.generation for spec in specs}:
        alike = [spec for spec in specs if spec.generation == generation]
        for spec, parts in zip(alike, distinctions(alike), strict=True):
            # The seed is said anyway, and the tree shows the teacher.
            unsaid = ("seed ", "teacher's ")
            labels[spec.id] = [part for part in parts if not part.startswith(unsaid)]
    return labels


def _tested(scores: Mapping[str, Any]) -> str:
    """Return a network's test error in words, with the balanced one where classes are uneven."""
    if scores.get("examples") == 0:
        return "trained without test examples"
    if "perplexity" in scores:
        return f"test perplexity {in_digits(scores['perplexity'], 2)}"
    words = f"test error {in_digits(scores['error'], 2)} %"
    if "balanced_error" in scores:
        words += f" (mean over classes {in_digits(scores['balanced_error'], 2)} %)"
    return words


def curves(
    series: Sequence[tuple[str, Sequence[float]]], title: str, height: int = 12, width: int = 64
) -> str:
    """Return learning curves as text: a series' name marks its values over epochs 1..n.

    The axis ends at the largest value after the first fifth of the epochs, so that the later ones
    can be told apart; larger ones are marked `^` at the top.
    """
    values = [value for _, numbers in series for value in numbers]
    if not values:
        return ""
    longest = max(len(numbers) for _, numbers in series)
    later = [value for _, numbers in series for value in numbers[longest // 5 :]]
    low, high = min(values), max(later, default=max(values))
    if high < max(values):
        title += "; ^ is above the axis"
    span = (high - low) or 1.0

    canvas = [[" "] * width for _ in range(height)]
    for name, numbers in series:
        for epoch, value in enumerate(numbers):
            column = round(epoch * (width - 1) / max(1, longest - 1))
            row = round((high - value) / span * (height - 1))
            canvas[max(0, row)][column] = name if row >= 0 else "^"

    labels = [f"{high:10.3f} ", *[" " * 11] * (height - 2), f"{low:10.3f} "]
    lines = [label + "|" + "".join(row) for label, row in zip(labels, canvas, strict=True)]
    axis = f"{'':11}+{'-' * width}"
    ends = f"{'':12}epoch 1{longest:>{width - 7}}"
    return "\n".join([title, *lines, axis, ends])


def _title(spec: Spec) -> str:
    return f"generation {spec.generation} ({spec.model.name}, {spec.origin})"


def _short_title(specs: Sequence[Spec]) -> str:
    """Return what a bar's line has room for."""
    if len(specs) == 1:
        return f"generation {specs[0].generation} ({specs[0].origin})"
    return f"generation {specs[0].generation} ({len(specs)} siblings)"


def _titles(specs: Sequence[Spec]) -> str:
    if len(specs) == 1:
        return _title(specs[0])
    names = ", ".join(dict.fromkeys(spec.origin for spec in specs))
    return (
        f"generation {specs[0].generation} ({specs[0].model.name}, {len(specs)} siblings: {names})"
    )


def _epoch_in_words(row: Mapping[str, Any]) -> str:
    words = f"loss {row['train_loss']:.4f}"
    if "validation_perplexity" in row:
        words += f", validation perplexity {row['validation_perplexity']:.2f}"
    elif "validation_error" in row:
        words += f", validation error {row['validation_error']:.2f} %"
    return words
