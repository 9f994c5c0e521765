"""The deployment's own rules, as its settings have them, at hand in every transaction without being passed from hand to hand.

Whoever opens a session puts the settings in it; where nobody did (a tool, a test) the defaults hold.
"""

from pathlib import Path

from sqlmodel import Session

from cloudmgr.settings import Policy, Settings, WorkerSection

_KEY = "cloudmgr.settings"


def attach(session: Session, settings: Settings) -> Session:
    """Put the settings into a session that was just opened; returns it."""
    session.info[_KEY] = settings
    return session


def policy_of(session: Session) -> Policy:
    """Return `[policy]` of the settings."""
    settings = session.info.get(_KEY)
    return settings.policy if isinstance(settings, Settings) else Policy()


def worker_of(session: Session) -> WorkerSection:
    """Return `[worker]` of the settings: how often backends are asked, which says how old an answer may be."""
    settings = session.info.get(_KEY)
    return settings.worker if isinstance(settings, Settings) else WorkerSection()


def playbook_folders(session: Session) -> tuple[Path, ...]:
    """Return the catalogue folders that the settings add to the packaged one."""
    settings = session.info.get(_KEY)
    return catalogue_folders(settings) if isinstance(settings, Settings) else ()


def catalogue_folders(settings: Settings) -> tuple[Path, ...]:
    """Return the catalogue folder of each of `playbooks_dirs`."""
    return tuple(folder.absolute() / "catalog" for folder in settings.playbooks_dirs)
