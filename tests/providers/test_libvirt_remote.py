"""Remote hosts: qemu+ssh through a real SSH server, qemu+tls through real certificates, and both refused when wrong."""

import socket
import ssl
import subprocess
import threading
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from providers.base import PowerState
from providers.errors import AuthFailed, Unavailable
from tests.ports import free_port
from tests.providers.libvirt_lab import files_of, lab, make_key, opened
from tests.providers.test_libvirt import spec

pytestmark = pytest.mark.lab("libvirt")


def build_and_delete(provider):
    """The whole life of a server, over whatever transport the provider uses."""
    token = new_id()
    made = provider.create_server(spec(data_disk_gib=1), token)
    assert made.power is PowerState.RUNNING
    assert token in {server.token for server in provider.list_servers()}
    assert provider.console_addresses(made.ref) == [], "a remote host's loopback is not ours"
    provider.delete_server(made.ref)
    assert provider.find_server(token) is None
    assert files_of(token) == []


class TestSsh:
    @pytest.fixture
    def host(self, tmp_path):
        """An SSH server on loopback that lets one key in as root, without touching root's own files."""
        private, public = make_key(tmp_path)
        home = tmp_path / "dot-ssh"
        home.mkdir(mode=0o700)
        (home / "authorized_keys").write_text(public + "\n")
        (home / "authorized_keys").chmod(0o600)
        host_key = tmp_path / "host-key"
        made = subprocess.run(
            ["dropbearkey", "-t", "ed25519", "-f", str(host_key)], capture_output=True, text=True, check=True
        )
        line = next(line for line in made.stdout.splitlines() if line.startswith("ssh-ed25519"))
        port = free_port()
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {' '.join(line.split()[:2])}\n")
        script = f'mount --bind "$0" {Path.home()}/.ssh && exec dropbear -F -E -s -p 127.0.0.1:{port} -r "$1"'
        (Path.home() / ".ssh").mkdir(mode=0o700, exist_ok=True)
        server = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, str(home), str(host_key)], stderr=subprocess.DEVNULL
        )
        wait_for_port(port)
        yield {
            "uri": f"qemu+ssh://root@127.0.0.1:{port}/system",
            "ssh_key_file": str(private),
            "known_hosts_file": str(known),
            "connect_timeout_s": 60.0,  # guests may be starting on the same two cores
        }
        server.terminate()
        server.wait(10)

    def test_server_is_built_and_deleted_over_ssh(self, tmp_path, host):
        with closing(opened(tmp_path / "state", **host)) as provider:
            assert provider.check().startswith("libvirt ")
            build_and_delete(provider)

    def test_host_with_another_key_is_refused(self, tmp_path, host):
        known = Path(host["known_hosts_file"])
        (tmp_path / "other").mkdir()
        _, other = make_key(tmp_path / "other")
        known.write_text(f"{known.read_text().split()[0]} {' '.join(other.split()[:2])}\n")
        with closing(opened(tmp_path / "state", **host)) as provider, pytest.raises(AuthFailed):
            provider.check()

    def test_unknown_host_is_refused_and_nobody_is_asked(self, tmp_path, host):
        Path(host["known_hosts_file"]).write_text("")
        with closing(opened(tmp_path / "state", **host)) as provider, pytest.raises(AuthFailed):
            provider.check()

    def test_wrong_key_is_refused(self, tmp_path, host):
        (tmp_path / "other").mkdir()
        private, _ = make_key(tmp_path / "other")
        wrong = {**host, "ssh_key_file": str(private)}
        with closing(opened(tmp_path / "state", **wrong)) as provider, pytest.raises(AuthFailed):
            provider.check()


class TestTls:
    @pytest.fixture
    def pki(self, tmp_path):
        """One authority, a server's and a client's certificate, where libvirt looks for them."""
        folder = tmp_path / "pki"
        folder.mkdir()
        authority = make_certificate(folder, "cacert.pem", "cakey.pem", "test authority", None)
        make_certificate(folder, "servercert.pem", "serverkey.pem", "localhost", authority)
        make_certificate(folder, "clientcert.pem", "clientkey.pem", "cloudmgr", authority)
        return folder

    @pytest.fixture
    def host(self, pki):
        """libvirtd's socket behind TLS as libvirtd itself speaks it: handshake, both certificates, one byte, then calls."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "servercert.pem", pki / "serverkey.pem")
        context.load_verify_locations(pki / "cacert.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = 0  # libvirtd sends none, and its client expects none
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=serve_tls, args=(listener, context), daemon=True).start()
        yield {"uri": f"qemu+tls://localhost:{listener.getsockname()[1]}/system", "pki_dir": str(pki)}
        listener.close()

    def test_server_is_built_and_deleted_over_tls(self, tmp_path, host):
        with closing(opened(tmp_path / "state", **host)) as provider:
            build_and_delete(provider)

    def test_host_of_another_authority_is_refused(self, tmp_path, host):
        other = tmp_path / "other-pki"
        other.mkdir()
        authority = make_certificate(other, "cacert.pem", "cakey.pem", "another authority", None)
        make_certificate(other, "clientcert.pem", "clientkey.pem", "cloudmgr", authority)
        wrong = {**host, "pki_dir": str(other)}
        with closing(opened(tmp_path / "state", **wrong)) as provider, pytest.raises(AuthFailed):
            provider.check()

    def test_missing_certificates_are_an_operators_matter(self, tmp_path, host):
        wrong = {**host, "pki_dir": str(tmp_path / "nothing-here")}
        with closing(opened(tmp_path / "state", **wrong)) as provider, pytest.raises(AuthFailed):
            provider.check()

    def test_closed_port_is_only_unavailable(self, tmp_path, host):
        gone = {**host, "uri": f"qemu+tls://localhost:{free_port()}/system"}
        with closing(opened(tmp_path / "state", **gone)) as provider, pytest.raises(Unavailable):
            provider.check()


def wait_for_port(port):
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"nothing listens on {port}")


def serve_tls(listener, context):
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        with suppress(OSError):  # a client that we, or that refuses us, ends the handshake
            client = context.wrap_socket(plain, server_side=True)
            client.sendall(b"\x01")  # virNetTLSSession: the server's word that the client's certificate will do
            server = socket.socket(socket.AF_UNIX)
            server.connect(lab()["socket"])
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            threading.Thread(target=pump, args=(server, client), daemon=True).start()


def pump(source, target):
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


def make_certificate(folder, cert_name, key_name, common_name, authority):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    issuer, signer = (name, key) if authority is None else authority
    now = clock.now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )
    if authority is None:
        builder = builder.add_extension(key_usage(signs_certificates=True), critical=True)
    else:
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        builder = builder.add_extension(key_usage(signs_certificates=False), critical=True)
    certificate = builder.sign(signer, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (folder / cert_name).write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / key_name).write_bytes(private)
    return name, key


def key_usage(*, signs_certificates):
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=not signs_certificates,  # libvirt checks for it
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
