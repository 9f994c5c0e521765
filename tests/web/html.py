"""Reading our own pages strictly: balanced tags, unique ids, labels for every control, no inline script or style."""

from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr", "use", "rect", "path"}


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.labelled: set[str] = set()
        self.controls: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.fields: list[tuple[int, dict[str, str]]] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        if self.open:
            self.faults.append(f"never closed: {self.open}")
        self.faults += [f"id twice: {one}" for one in {i for i in self.ids if self.ids.count(i) > 1}]
        self.faults += [f"no label for {one}" for one in self.controls if one not in self.labelled]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if len(given) < len(attrs):
            self.faults.append(f"attribute twice in <{tag}>")
        if "id" in given and tag != "symbol":
            self.ids.append(given["id"])
        if "style" in given or any(name.startswith("on") for name in given):
            self.faults.append(f"inline style or script in <{tag}>")
        if tag == "script" and "src" not in given:
            self.faults.append("inline script")
        if tag == "label" and "for" in given:
            self.labelled.add(given["for"])
        if tag in ("select", "textarea") or (
            tag == "input" and given.get("type") not in ("hidden", "checkbox", "radio")
        ):
            self.controls.append(given.get("id", f"<{tag} name={given.get('name')}>"))
        if tag == "form":
            self.forms.append(given)
        if tag in ("input", "select", "textarea", "button"):
            self.fields.append((len(self.forms), {"tag": tag, **given}))
        if tag == "a":
            self.links.append(given.get("href", ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID and (not self.open or self.open[-1] != tag):
            return
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]} at line {self.getpos()[0]}")
            if tag in self.open:
                while self.open.pop() != tag:
                    pass
            return
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def posting_forms_without_csrf(self) -> list[str]:
        """Every form that posts carries the token."""
        safe = {index for index, field in self.fields if field.get("name") == "csrf_token" and field.get("value")}
        return [
            form.get("action", "")
            for index, form in enumerate(self.forms, 1)
            if form.get("method") == "post" and index not in safe
        ]


class _Filled(HTMLParser):
    """Collects what a browser would send of the fields of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, str] = {}
        self._name = ""
        self._is_first = False
        self._area = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "input" and given.get("type") not in ("submit", "file"):
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                self.sent[given.get("name", "")] = given.get("value", "")
        elif tag == "select":
            self._name, self._is_first = given.get("name", ""), True
        elif tag == "option" and self._name:
            if self._is_first or "selected" in given:
                self.sent[self._name] = given.get("value", "")
            self._is_first = False
        elif tag == "textarea":
            self._area = given.get("name", "")
            self.sent[self._area] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._name = ""
        elif tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.sent[self._area] += data


def filled(text: str) -> dict[str, str]:
    """Return what a browser would send of a page's fields, by name, as they were drawn."""
    parser = _Filled()
    parser.feed(text)
    return parser.sent
