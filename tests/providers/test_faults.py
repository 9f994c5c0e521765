"""The fault proxy itself: what each fault does to the peer and to the caller, in plain HTTP and in TLS."""

import http.client
import ssl
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.providers.certificates import make_certificate
from tests.providers.checks import in_threads
from tests.providers.faults import FaultProxy


class Peer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.command, self.path, asked))
        answer = b"done " + asked + f" at http://127.0.0.1:{self.server.server_port}/more".encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self):
        self.server.got.append((self.command, self.path, b""))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    def do_DELETE(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module", params=["http", "https"])
def tls(request, tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("peer")) if request.param == "https" else None


@pytest.fixture
def peer(tls):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    server.got = []
    if tls:
        server.socket = tls.server_context().wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def proxy(peer, tls):
    scheme = "https" if tls else "http"
    with FaultProxy(f"{scheme}://127.0.0.1:{peer.server_port}", tls=tls and tls.server_context()) as proxy:
        yield proxy


@pytest.fixture
def ask(proxy, tls):
    def ask(method="POST", path="/servers", body=b"x", timeout=5, connection=None):
        with closing(connection or connect(timeout)) as made:
            made.request(method, path, body)
            answer = made.getresponse()
            return answer.status, answer.read()

    def connect(timeout):
        if tls is None:
            return http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=timeout)
        context = ssl.create_default_context(cafile=tls.ca_file)
        return http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=timeout, context=context)

    return ask


def test_everything_is_forwarded_and_counted(proxy, peer, ask):
    assert ask(body=b"one")[0] == 201
    assert ask("GET", "/servers?limit=2") == (200, b"abcde")
    assert ask("DELETE", "/servers/1") == (204, b"")
    assert [got[:2] for got in peer.got] == [("POST", "/servers"), ("GET", "/servers?limit=2")]
    assert proxy.count() == 3
    assert proxy.count(method="GET", path=r"limit=\d") == proxy.count(body=b"one") == 1


def test_lost_answer_has_reached_the_peer(proxy, peer, ask):
    with proxy.fault("lose", method="POST", path="/servers$") as strike:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)):
            ask()
        assert ask()[0] == 201
    assert strike.times_struck == 1
    assert len(peer.got) == 2


def test_hanging_answer_times_out_and_has_reached_the_peer(proxy, peer, ask):
    with proxy.fault("hang"), pytest.raises(TimeoutError):
        ask(timeout=0.3)
    assert len(peer.got) == 1


def test_refused_and_dropped_calls_never_reach_the_peer(proxy, peer, ask):
    with proxy.fault("refuse", status=503, answer=b"later", times=2):
        assert [ask(), ask()] == [(503, b"later")] * 2
    with proxy.fault("drop"), pytest.raises((http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)):
        ask()
    with proxy.down(), pytest.raises((http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)):
        ask()
    assert peer.got == []
    assert [call.fault for call in proxy.calls] == ["refuse", "refuse", "drop", "drop"]


def test_cut_answer_ends_midway(proxy, peer, ask):
    with proxy.fault("cut"), pytest.raises((http.client.IncompleteRead, ConnectionError, ssl.SSLError)):
        ask()
    assert len(peer.got) == 1


def test_delayed_call_and_replaced_answer(proxy, peer, ask):
    began = time.monotonic()
    with proxy.fault("delay", delay_s=0.3):
        assert ask()[0] == 201
    assert time.monotonic() - began >= 0.3
    with proxy.fault("replace", status=500, answer=b"expired"):
        assert ask() == (500, b"expired")
    assert len(peer.got) == 2


def test_rule_meets_only_what_it_is_meant_for(proxy, peer, ask):
    with proxy.fault("refuse", body=b"CloneVM", skip=1) as strike:
        assert [ask(body=b"CloneVM 1")[0], ask(body=b"PowerOn")[0], ask(body=b"CloneVM 2")[0]] == [201, 201, 503]
    assert strike.times_struck == 1


def test_addresses_a_peer_tells_can_be_rewritten(proxy, peer, ask):
    proxy.rewrites[f"http://127.0.0.1:{peer.server_port}".encode()] = proxy.url.encode()
    assert ask(body=b"")[1].endswith(f"{proxy.url}/more".encode())


def test_connections_of_many_threads_are_kept_apart(proxy, peer, ask):
    assert in_threads([lambda n=n: ask(body=b"%d" % n)[1].split()[1] for n in range(16)]) == [
        b"%d" % n for n in range(16)
    ]


def test_peer_that_is_not_there_is_passed_on(tmp_path):
    with FaultProxy("http://127.0.0.1:1") as proxy, closing(http.client.HTTPConnection("127.0.0.1", proxy.port)) as one:
        one.request("GET", "/")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            one.getresponse()
    assert [call.status for call in proxy.calls] == [None]
