"""The networks of a family in words: who taught them, and how they did."""

from __future__ import annotations

from collections.abc import Sequence

from anew.report.content import NetworkSummary, Report

COLUMNS = ("network", "generation", "model", "objective", "seed", "taught by")


def learned(network: NetworkSummary, report: Report) -> str:
    """Return what a network learned from."""
    if network.objective == "given":
        return "given"
    if not network.teachers:
        return "learned from the labels"
    if len(network.teachers) > 1:
        return network.objective
    (teacher,) = _teachers(network, report)
    objective = network.objective.removesuffix(" of soft labels")
    return f"{objective}, taught by {teacher}"


def lines(networks: Sequence[NetworkSummary], report: Report) -> list[list[str]]:
    """Return a line of texts for each network: `COLUMNS`, and its test score."""
    return [_line(network, report) for network in networks]


def title(network: NetworkSummary) -> str:
    """Return a network's name, such as `Generation 1, ban`; soft labels have no generation."""
    if network.is_soft_labels:
        return network.objective
    return f"Generation {network.generation}, {network.objective}"


def _line(network: NetworkSummary, report: Report) -> list[str]:
    if network.is_soft_labels:
        return [network.id, "-", "-", network.objective, "-", "-", "-"]
    if not network.finished:
        state = f"not finished, {network.epochs_done} of {network.epochs} epochs"
    elif network.objective == "given" and network.error is None and network.perplexity is None:
        state = "given, not scored"
    else:
        state, _ = network.result

    soft = {one.id: one.objective for one in report.networks if one.is_soft_labels}
    teachers = ", ".join(soft.get(one, one) for one in network.teachers) or "-"
    names = [network.id, str(network.generation), network.model, network.objective]
    return [*names, str(network.seed), teachers, state]


def _teachers(network: NetworkSummary, report: Report) -> list[str]:
    """Return a network's teachers: by their generation, or what soft labels are called."""
    by_id = {one.id: one for one in report.networks}
    names: list[str] = []
    for one in network.teachers:
        teacher = by_id.get(one)
        if teacher is None:
            names.append(one)
        elif teacher.is_soft_labels:
            names.append(teacher.objective)
        else:
            names.append(f"generation {teacher.generation}")
    return names
