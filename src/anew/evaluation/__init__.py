"""What networks say of held-out examples: outputs, scores, ensembles, statistics, insight."""

from anew.evaluation.outputs import (
    EVALUATION_BATCH,
    outputs_of,
    predict,
    read_outputs,
    write_outputs,
)
from anew.evaluation.scoring import (
    Row,
    accuracy,
    evaluate_lineage,
    evaluate_networks,
    score_logits,
    score_network,
    score_table,
)

__all__ = [
    "EVALUATION_BATCH",
    "Row",
    "accuracy",
    "evaluate_lineage",
    "evaluate_networks",
    "outputs_of",
    "predict",
    "read_outputs",
    "score_logits",
    "score_network",
    "score_table",
    "write_outputs",
]
