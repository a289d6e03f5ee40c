"""A group of siblings: those that the family does not hold yet are trained and reported."""

from __future__ import annotations

from anew.core.errors import AnewError
from anew.family.lock import NetworkLock
from anew.training.loop import train_siblings
from anew.training.session import Group, Session


def train_group(session: Session, group: Group) -> dict[str, AnewError]:
    """Train the siblings of a group that the family does not hold yet.

    Returns the errors of those that failed, by id. Raises `AnewError` if none can be trained, and
    `Interrupted` after saving.
    """
    folders = session.world.in_turn(lambda: [session.family.begin(spec) for spec in group.specs])
    held = [folder.is_done for folder in folders]

    failures: dict[str, AnewError] = {}
    if not all(held):
        failures = train_siblings(session, group)

    for spec, folder, was_held in zip(group.specs, folders, held, strict=True):
        if folder.is_done:
            if session.world.is_main:
                folder.clear_state()
                NetworkLock(folder.path).remove_if_dead()
            session.progress.network_done(spec, folder.done, found=was_held)
    return failures
