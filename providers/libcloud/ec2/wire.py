"""EC2's query API through a Libcloud driver's signed connection: every page, and no answer that cannot be read.

Libcloud looks for elements of one XML namespace; an answer in another gives empty lists without an error. Such an answer is
refused here, because an empty list would be read as "all gone".
"""

from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from libcloud.compute.drivers import ec2 as libcloud_ec2

from cloudmgr.domain.messages import N_
from providers.errors import NotFound, Unavailable, UnknownOutcome
from providers.libcloud.errors import translated

PAGE = 500
PAGES = 1000
"""No account has more; a cloud that answers with one more page forever is given up."""


class Wire:
    """One call's worth of requests on one driver object."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def ask(self, action: str, params: Mapping[str, Any] | None = None) -> Element:
        """Send one request and return its answer's root.

        Raises:
            ProviderError: as providers/libcloud/errors.py says; a change whose answer cannot be read is UnknownOutcome.
        """
        write = not action.startswith("Describe")
        sent = {"Action": action, **{name: str(value) for name, value in (params or {}).items()}}
        with translated(write=write):
            answer = self.driver.connection.request(self.driver.path, params=sent).object
        namespace = libcloud_ec2.NAMESPACE
        if isinstance(answer, Element) and answer.tag.startswith(f"{{{namespace}}}"):
            return answer
        said = answer.tag if isinstance(answer, Element) else type(answer).__name__
        detail = f"{action}: expected XML of {namespace}, got {said}"
        if write:
            raise UnknownOutcome(N_("The cloud was asked, but its answer is not known."), detail=detail)
        raise Unavailable(
            N_("The cloud answers in a form we do not know, so nothing is concluded from it."), detail=detail
        )

    def find(
        self, action: str, path: str, filters: Mapping[str, str] | None = None, params: Mapping[str, Any] | None = None
    ) -> Iterator[Element]:
        """Yield the elements at a path of every page of a Describe call."""
        sent: dict[str, Any] = dict(params or {})
        for number, (name, value) in enumerate((filters or {}).items(), 1):
            sent |= {f"Filter.{number}.Name": name, f"Filter.{number}.Value.1": value}
        if action in _PAGED and not params:
            sent["MaxResults"] = PAGE
        for _ in range(PAGES):
            answer = self.ask(action, sent)
            yield from items(answer, path)
            token = text(answer, "nextToken")
            if not token:
                return
            sent["NextToken"] = token

    def find_by_id(self, action: str, path: str, name: str, ref: str) -> Element | None:
        """Return the one element with an id, None where the cloud has no such thing."""
        try:
            return next(iter(items(self.ask(action, {f"{name}.1": ref}), path)), None)
        except NotFound:
            return None


_PAGED = frozenset(
    {"DescribeInstances", "DescribeVolumes", "DescribeSubnets", "DescribeNetworkInterfaces", "DescribeSecurityGroups"}
)


def text(element: Element, path: str) -> str | None:
    """Return the text at a path, None where there is none."""
    found = element.find(_qualified(path))
    return None if found is None or not found.text else found.text


def items(element: Element, path: str) -> list[Element]:
    """Return the elements at a path."""
    return element.findall(_qualified(path))


def tags(element: Element) -> dict[str, str]:
    """Return an object's tags."""
    return {text(item, "key") or "": text(item, "value") or "" for item in items(element, "tagSet/item")}


def tag_params(kind: str, given: Mapping[str, str], number: int = 1) -> dict[str, str]:
    """Return the parameters that tag a new object in the call that makes it, so that it is never without."""
    root = f"TagSpecification.{number}"
    params = {f"{root}.ResourceType": kind}
    for place, (key, value) in enumerate(given.items(), 1):
        params |= {f"{root}.Tag.{place}.Key": key[:128], f"{root}.Tag.{place}.Value": value[:256]}
    return params


def _qualified(path: str) -> str:
    return "/".join(f"{{{libcloud_ec2.NAMESPACE}}}{step}" for step in path.split("/"))
