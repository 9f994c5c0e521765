"""What is said of a request in a served city: files it must have, comments, notes among those who decide, what was thought of it."""

import httpx

from tests.journeys.office import Office

SETTINGS = {"policy": {"attachments_required": 1}}
PDF = b"%PDF-1.7\n" + b"0" * 4096


def attach(office: Office, who: str, request: str, name: str, content: bytes, status: int = 201) -> str:
    answer = office.send(who, "POST", f"/requests/{request}/attachments", files={"file": (name, content)})
    assert answer.status_code == status, answer.text
    return str(answer.json().get("id", ""))


def fetch(office: Office, who: str, request: str, file: str) -> httpx.Response:
    return office.send(who, "GET", f"/requests/{request}/attachments/{file}")


def test_a_request_with_its_files_and_what_is_said_of_it(office: Office) -> None:
    assert office.ask(status=409)["code"] == "conflict", "a file is wanted, and none is there"
    assert office.reserved() == 0
    body = office.world.body(name="filed", playbook="collect_facts")
    request = office.post("requester", "/requests", body | {"draft": True}, 201)["id"]
    path = f"/requests/{request}"
    attach(office, "requester", request, "立项批复.exe", b"MZ\x00\x01\x02", 422)
    attach(office, "requester", request, "立项批复.png", PDF, 422)
    attach(office, "requester", request, "大.pdf", PDF + b"0" * 900 * 1024, 422)
    wrong = attach(office, "requester", request, "旧稿.txt", "草稿".encode())
    assert office.send("requester", "DELETE", f"{path}/attachments/{wrong}").status_code == 204
    office.post("requester", f"{path}/submit", status=409)
    file = attach(office, "requester", request, "../立项批复.pdf", PDF)
    assert office.post("requester", f"{path}/submit")["phase"] == "in_review"

    office.kill()
    office.start()
    got = fetch(office, "admin", request, file)
    assert (got.content, got.headers["X-Content-Type-Options"]) == (PDF, "nosniff")
    assert got.headers["Content-Disposition"].startswith("attachment;")
    assert fetch(office, "stranger", request, file).status_code == 404
    assert office.send("requester", "DELETE", f"{path}/attachments/{file}").status_code == 409, (
        "it was submitted with it"
    )
    (listed,) = office.get("admin", f"{path}/attachments")["items"]
    assert (listed["name"], listed["media_type"], listed["size_bytes"]) == ("立项批复.pdf", "application/pdf", len(PDF))
    assert "立项批复.pdf" in office.page("admin", path)

    office.told("requester")
    office.post("admin", f"{path}/comments", {"text": "请说明业务量"}, 201)
    office.post("admin", f"{path}/comments", {"text": "预算存疑", "internal": True}, 201)
    office.post("requester", f"{path}/comments", {"text": "无", "internal": True}, 403)
    office.post("stranger", f"{path}/comments", {"text": "无"}, 404)
    office.post("requester", f"{path}/comments", {"text": "日均两万件"}, 201)
    assert office.told("requester") == {"request.commented": 1}
    said = {
        who: [each["text"] for each in office.get(who, f"{path}/comments")["items"]] for who in ("requester", "admin")
    }
    assert said == {"requester": ["请说明业务量", "日均两万件"], "admin": ["请说明业务量", "预算存疑", "日均两万件"]}
    assert "预算存疑" in office.page("admin", path)
    assert "预算存疑" not in office.page("requester", path)

    office.post("requester", f"{path}/feedback", {"score": 5}, 409)
    office.fulfil(office.read(request))
    office.post("colleague", f"{path}/feedback", {"score": 1}, 403)
    office.post("requester", f"{path}/feedback", {"score": 4, "comment": "很快"}, 201)
    office.post("requester", f"{path}/feedback", {"score": 5}, 409)
    assert office.get("admin", f"{path}/feedback")["score"] == 4
    office.balanced()
