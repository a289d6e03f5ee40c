"""What networks say of held-out examples: outputs, scores, ensembles, statistics, insight."""

from anew.evaluation.outputs import (
    EVALUATION_BATCH,
    outputs_of,
    predict,
    read_outputs,
    write_outputs,
)
from anew.evaluation.scoring import (
    SCORE_COLUMNS,
    Row,
    accuracy,
    evaluate_lineage,
    evaluate_networks,
    score_lines,
    score_logits,
)

__all__ = [
    "EVALUATION_BATCH",
    "SCORE_COLUMNS",
    "Row",
    "accuracy",
    "evaluate_lineage",
    "evaluate_networks",
    "outputs_of",
    "predict",
    "read_outputs",
    "score_lines",
    "score_logits",
    "write_outputs",
]
