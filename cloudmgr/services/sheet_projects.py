"""Which information system a line of a sheet means, of those that fit what it says."""

from collections.abc import Sequence

from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import REFUSED_LEVELS
from cloudmgr.models import Organization, Project
from cloudmgr.services.import_cells import WrongCellError


def one_project(fits: Sequence[tuple[Project, Organization]], column: str) -> tuple[Project, Organization]:
    """Return the only one that fits, and may be asked for.

    Raises:
        WrongCellError: none fits, or several do; it is classified, of a level above the platform's, or closed.
    """
    if not fits:
        raise WrongCellError(
            "no_such_project",
            N_("There is no such information system among yours."),
            N_("Create it first, or correct the name, the code or the unit."),
            column=column,
        )
    if len(fits) > 1:
        raise WrongCellError(
            "ambiguous",
            N_("{count} information systems of yours fit this line, of {organizations}."),
            N_("Give the unit and the code of the system as well."),
            column=column,
            count=len(fits),
            organizations=", ".join(sorted({organization.name for _, organization in fits})[:5]),
        )
    project = fits[0][0]
    if project.is_classified or project.mlps_level in REFUSED_LEVELS:
        raise WrongCellError(
            "classification_refused",
            N_("Classified systems and systems of MLPS level 4 and above must not use this platform."),
            N_("Remove the line."),
            column=column,
        )
    if not project.is_active:
        raise WrongCellError("closed", N_("The project is closed."), N_("Reopen it, or choose another."), column=column)
    return fits[0]
