"""Commands that ask the networks of a family: `anew evaluate`, `predict` and `sample`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import Parameter

from anew.cli.options import (
    AS_TABLE,
    ROWS_AS_TABLE,
    THE_LAST,
    WHOLE,
    Calibrate,
    Chosen,
    Coverage,
    Printed,
    PrintedRows,
    execution_from,
    takes_execution,
)
from anew.cli.printing import notify, print_json, print_rows
from anew.cli.streams import Terminal
from anew.core.errors import AnewError, MissingNetworkError
from anew.core.text import capitalised, in_digits

if TYPE_CHECKING:
    from anew.core.execution import Execution
    from anew.core.spec import Spec
    from anew.evaluation.calibrated import Asked, Calibrated
    from anew.evaluation.prediction import Prediction
    from anew.evaluation.writing import NextWords, Writers
    from anew.family import Family

FamilyFolder = Annotated[
    Path, Parameter(help="The family's folder, written by `anew train --out`.")
]


@Parameter(name="*")
@dataclass(frozen=True)
class Together:
    """Which lineages and which ensembles of them are scored."""

    network: Annotated[
        str,
        Parameter(
            help="Score only the lineage that ends at this network (the start of its id). "
            "Default: all lineages."
        ),
    ] = ""
    all_subsets: Annotated[
        bool,
        Parameter(
            help="Score ensembles of all subsets of the generations, not only of consecutive ones."
        ),
    ] = False
    learn_weights: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Also score the ensemble of all generations with weights learned on the "
            "validation examples.",
        ),
    ] = False


RUNS = Together()


def evaluate(
    family: FamilyFolder,
    /,
    *,
    split: Annotated[
        Literal["test", "validation"],
        Parameter(help="Examples to score: the test set or the validation split."),
    ] = "test",
    together: Together = RUNS,
    calibrate: Calibrate = False,
    conformal: Coverage = None,
    printed: PrintedRows = ROWS_AS_TABLE,
) -> None:
    """Print error, NLL, ECE and Brier score of every generation and of ensembles of consecutive
    generations. With more than 9 generations, only the ensembles of the first and of the last.
    """
    from anew.evaluation.calibrated import Asked
    from anew.family import Family, unfinished_after

    asked = Asked(calibrate, conformal)
    if split == "validation" and not asked.is_nothing:
        raise AnewError(
            "evaluate: temperatures and weights are fitted on the validation examples, so they "
            "cannot be scored on them; drop --split validation"
        )
    if together.learn_weights and (split == "validation" or not asked.is_nothing):
        raise AnewError(
            "evaluate: weights and temperatures are both fitted on the validation examples; give "
            "--learn-weights alone"
        )
    opened = Family.open(family)
    notify(opened.missing())
    lineages = opened.lineages(gaps=True)
    if together.network:
        lineages = [opened.lineage_to(together.network, gaps=True)]
    if not lineages:
        raise AnewError(
            f"{family}: holds no finished network; `anew train --out {family}` starts or resumes it"
        )

    going_on = unfinished_after(opened)
    # What was stopped comes after what came to its end.
    lineages.sort(key=lambda lineage: lineage[-1].id in going_on)
    form = printed.chosen
    evaluated = [_evaluate_lineage(opened, lineage, split, asked, together) for lineage in lineages]
    if form == "json":
        entries = [
            {
                "lineage": [spec.id for spec in lineage],
                "model": lineage[-1].model.name,
                "objective": lineage[-1].objective.name,
                "seed": lineage[-1].seed,
                "split": split,
                "rows": scored.rows,
            }
            for lineage, scored in zip(lineages, evaluated, strict=True)
        ]
        print_json(entries)
        return
    if form != "table":
        print_rows(form, *_in_rows(lineages, evaluated))
        return

    _print_lineages(lineages, evaluated, going_on, all_subsets=together.all_subsets)


def _print_lineages(
    lineages: Sequence[Sequence[Spec]],
    evaluated: Sequence[_Scored],
    going_on: Mapping[str, Sequence[Spec]],
    *,
    all_subsets: bool,
) -> None:
    """Print the scores of lineages as tables, and what their columns are."""
    from anew.cli import terminal
    from anew.evaluation import ensemble
    from anew.family import told_apart

    console = Terminal()
    labels = told_apart([lineage[-1] for lineage in lineages])
    for place, (lineage, scored, label) in enumerate(zip(lineages, evaluated, labels, strict=True)):
        if place:
            console.print()
        last = lineage[-1]
        ids = " > ".join(f"{spec.id}{' (missing)' * spec.is_missing}" for spec in lineage)
        for spec in going_on.get(last.id, ()):
            ids += f" > {spec.id} (not finished)"
        seed = f"seed {last.seed}"
        named = [label] if seed in label.split(", ") else [seed, label]
        heading = f"{', '.join([last.model.name, *named])}: {ids}"
        console.say(heading)
        terminal.show_table(console, *scored.table, scored.title, numbers_from=2)
        left_out = "" if all_subsets else ensemble.notice_of_listed(len(lineage))
        for notice in filter(None, (scored.notice, left_out)):
            console.say(notice)
    console.note(_legend(evaluated), style="dim")


def _legend(evaluated: Sequence[_Scored]) -> str:
    """Return what the columns and rows of tables of scores are."""
    columns, rows = evaluated[0].table
    named = {
        "perplexity": "perplexity: exp(NLL), with its 95 % interval",
        "NLL": "NLL: mean negative log-likelihood, in nats",
        "ECE %": "ECE: expected calibration error",
        "Brier": "Brier: mean squared distance from the right answer, 0 to 2",
    }
    parts = [words for name, words in named.items() if name in columns]
    if any(row[0].startswith("ensemble ") for row in rows):
        parts.append("ensemble A-B: mean probabilities of generations A to B")
    return f"{'; '.join(parts)}. Lower is better."


def _in_rows(
    lineages: Sequence[Sequence[Spec]], evaluated: Sequence[_Scored]
) -> tuple[list[str], list[list[Any]]]:
    """Return all rows of all lineages as one table; scores of another epoch as `best_epoch.nll`."""
    flat: list[dict[str, Any]] = []
    for lineage, scored in zip(lineages, evaluated, strict=True):
        for row in scored.rows:
            line: dict[str, Any] = {"lineage": lineage[-1].id}
            for name, value in row.items():
                if isinstance(value, dict):
                    inner = cast("dict[str, Any]", value)
                    line |= {f"{name}.{key}": one for key, one in inner.items()}
                elif isinstance(value, list):
                    line[name] = " ".join(map(str, cast("list[Any]", value)))
                else:
                    line[name] = value
            flat.append(line)

    columns = list(dict.fromkeys(name for line in flat for name in line))
    return columns, [[line.get(name, "") for name in columns] for line in flat]


@dataclass(frozen=True)
class _Scored:
    """The scores of a lineage as they are printed."""

    rows: list[dict[str, Any]]
    table: tuple[list[str], list[list[str]]]
    title: str
    notice: str = ""


def _evaluate_lineage(
    family: Family,
    lineage: Sequence[Spec],
    split: Literal["test", "validation"],
    asked: Asked,
    together: Together,
) -> _Scored:
    """Score a lineage, with what is asked of its validation examples."""
    from anew import evaluation
    from anew.cli import terminal
    from anew.evaluation import calibrated_scoring, weighting
    from anew.evaluation.scoring import notice_of_weights, score_table

    all_subsets = together.all_subsets
    if asked.is_nothing:
        rows = [
            *evaluation.evaluate_lineage(family, lineage, split, all_subsets=all_subsets),
            *evaluation.evaluate_networks(family, lineage[-1].beside_lineage, split),
        ]
        if together.learn_weights and len(lineage) > 1:
            rows.append(weighting.evaluate_weighted(family, lineage, split))
        return _Scored(
            [row.to_json() for row in rows],
            score_table(rows),
            terminal.scores_title(rows, split),
            notice_of_weights(rows),
        )

    if any(spec.is_missing for spec in lineage):
        raise MissingNetworkError(family.missing()[0])
    calibrated = calibrated_scoring.evaluate_calibrated(
        family, lineage, asked, all_subsets=all_subsets
    )
    return _Scored(
        [one.to_json() for one in calibrated],
        calibrated_scoring.calibrated_table(calibrated),
        terminal.scores_title([one.row for one in calibrated], split),
        calibrated_scoring.notice_of_calibrated(calibrated, asked),
    )


@Parameter(name="*")
@dataclass(frozen=True)
class Predicted:
    """What `anew predict` predicts."""

    text: Annotated[
        str | None,
        Parameter(
            help="For language models, instead of pictures: print the likeliest next "
            "words of this text."
        ),
    ] = None
    top: Annotated[
        int, WHOLE, Parameter(help="Number of classes to print for each picture, or of next words.")
    ] = 3


PREDICTED = Predicted()


@takes_execution("device", "trust")
def predict(
    family: FamilyFolder,
    /,
    *pictures: Annotated[Path, Parameter(help="Picture files, or folders of pictures.")],
    predicted: Predicted = PREDICTED,
    chosen: Chosen = THE_LAST,
    calibrate: Calibrate = False,
    conformal: Coverage = None,
    printed: PrintedRows = ROWS_AS_TABLE,
    **given: Any,
) -> None:
    """Predict the classes of pictures with a generation or an ensemble; or, with a language model,
    the next words of a text.
    """
    from anew.data.kept import some_of
    from anew.evaluation import prediction
    from anew.evaluation.calibrated import Asked
    from anew.evaluation.predictor import choose
    from anew.family import Family
    from anew.training.device import settings

    text, top, form = predicted.text, predicted.top, printed.chosen
    if top < 1:
        raise AnewError(f"predict: top must be a whole number >= 1, got {top}; set --top")
    if text is not None:
        if pictures or calibrate or conformal is not None:
            raise AnewError(
                "predict: a text is continued without pictures, --calibrate and --conformal; drop "
                "them, or drop --text"
            )
        following = _writers(family, chosen, execution_from(given)).after(text)
        _print_next(following, top, form)
        return
    if not pictures:
        raise AnewError(
            "predict: no picture was given; name one or more picture files after the family, or "
            "give --text"
        )
    asked, execution = Asked(calibrate, conformal), execution_from(given)
    with settings(execution) as device:
        networks = choose(Family.open(family), chosen.network, chosen.generations)
        calibrated = networks.calibrated(asked)
        loaded = networks.networks(execution.trust)
        files = prediction.picture_files(pictures)
        predictions, unread = prediction.predict_files(loaded, files, device, calibrated)

    if predictions:
        _print_predictions(predictions, calibrated, top, form)
    if unread:
        others = "; replace them; the others are predicted" if predictions else "; give others"
        counted = f"{len(unread):,} of {len(files):,} files cannot be read: "
        several = counted if len(files) > 1 else ""
        raise AnewError(f"{several}{some_of(unread)}{others}")


@Parameter(name="*")
@dataclass(frozen=True)
class Sampled:
    """What `anew sample` writes."""

    text: Annotated[str, Parameter(help="The beginning of the text.")] = ""
    words: Annotated[int, WHOLE, Parameter(help="Number of words to write.")] = 50
    seed: Annotated[
        int, WHOLE, Parameter(help="Random seed; another seed writes another text.")
    ] = 0
    temperature: Annotated[
        float,
        Parameter(
            help="Sampling temperature: below 1 favours likely words, above 1 unlikely ones."
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        """Raise `AnewError` if a number is out of its range."""
        if not 0 < self.temperature <= 1000:
            raise AnewError(
                f"sample: temperature must be > 0 and <= 1000, got {self.temperature:g}; set "
                "--temperature"
            )
        if self.seed < 0:
            raise AnewError(
                f"sample: seed must be a whole number >= 0, got {self.seed}; set --seed"
            )


FROM_NOTHING = Sampled()


@takes_execution("device", "trust")
def sample(
    family: FamilyFolder,
    /,
    *,
    sampled: Sampled = FROM_NOTHING,
    chosen: Chosen = THE_LAST,
    printed: Printed = AS_TABLE,
    **given: Any,
) -> None:
    """Continue a text with a language model or an ensemble of generations."""
    from anew.core.text import clean
    from anew.evaluation.writing import MOST_WORDS

    words = sampled.words
    if not 1 <= words <= MOST_WORDS:
        raise AnewError(
            f"sample: words must be a whole number >= 1 and <= {MOST_WORDS}, got {words}; set "
            "--words"
        )
    writers = _writers(family, chosen, execution_from(given))
    written = writers.sample(sampled.text, words, sampled.seed, sampled.temperature)
    if printed.is_json:
        print_json({"text": written, "seed": sampled.seed, "temperature": sampled.temperature})
        return
    for line in written.split("\n"):
        print(clean(line))


def _writers(family: Path, chosen: Chosen, execution: Execution) -> Writers:
    """Return the language models that a user chooses, on the device."""
    from anew.evaluation.predictor import choose
    from anew.evaluation.writing import Writers
    from anew.family import Family
    from anew.training.device import torch_device

    device = torch_device(execution)
    networks = choose(Family.open(family), chosen.network, chosen.generations)
    return Writers([one.to(device) for one in networks.networks(execution.trust)])


def _print_next(following: NextWords, top: int, form: str) -> None:
    from anew.cli import terminal

    if form == "json":
        print_json(following.to_json(top))
        return
    lines = [
        [str(rank), word, in_digits(share, 4)]
        for rank, (word, share) in enumerate(following.ranked[:top], 1)
    ]
    columns = ["rank", "word", "probability"]
    if form != "table":
        print_rows(form, columns, lines)
    else:
        title = f"next word after: {' '.join(following.words) or '(the start of a line)'}"
        terminal.show_table(Terminal(), columns, lines, title, numbers_from=2)


def _print_predictions(
    predictions: Sequence[Prediction],
    calibrated: Calibrated,
    top: int,
    form: str,
) -> None:
    from anew.cli import terminal

    if form == "json":
        about = calibrated.to_json()
        print_json([predicted.to_json() | about for predicted in predictions])
        return

    columns = ["picture", "rank", "class", "probability"]
    if calibrated.conformal is not None:
        columns.append("in set")
    lines: list[list[str]] = []
    for predicted in predictions:
        # A set is shown whole.
        likely = predicted.likely or ()
        for rank, (name, probability) in enumerate(predicted.ranked[: max(top, len(likely))]):
            line = [str(predicted.path), str(rank + 1), name, in_digits(probability, 4)]
            beside = [] if predicted.likely is None else ["yes" if name in likely else "no"]
            lines.append([*line, *beside])

    notices = [capitalised(calibrated.in_words())] if calibrated.in_words() else []
    if form != "table":
        print_rows(form, columns, lines)
        notify(notices)
        return
    console = Terminal()
    terminal.show_table(console, columns, lines, numbers_from=3)
    for notice in notices:
        console.say(notice)
