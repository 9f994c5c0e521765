"""The promises P1-P13 of providers/base.py as tests that every driver inherits; a driver adds nothing and skips nothing.

A driver's test class gives the hooks that raise NotImplementedError in hooks.py and may override the others:

    class TestLibvirt(ProviderContract):
        driver = "libvirt"

        @pytest.fixture(scope="class")
        @classmethod
        def provider(cls, libvirt_lab): ...

Hooks and class fixtures are class methods, because one server is shared by all tests of a class. The tests of capabilities
come along, those of the capabilities that the driver inherits. Run it with `--dist loadscope` where tests run in parallel.
"""

import ast
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from cloudmgr.domain.architectures import Architecture
from providers import registry
from providers.base import PowerState, Provider, ServerObservation, ServerSpec
from providers.errors import (
    InvalidSpec,
    NoCapacity,
    NotFound,
    ProviderError,
    Remedy,
    Unavailable,
    UnknownOutcome,
)
from tests.providers.capabilities import CapabilityContract
from tests.providers.checks import ROOT, assert_no_secret, assert_safe, in_threads

STRANGE_REFS = ("", "no-such-server", "../../etc/passwd", "一台不存在的云主机", "x" * 300, "a'; --", "\x00")
MAY_FOLLOW = {Remedy.RETRY, Remedy.RECONCILE}


class ProviderContract(CapabilityContract):
    # What the tests share

    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, provider: Provider) -> Iterator[tuple[ServerSpec, uuid.UUID, ServerObservation]]:
        """One running server for every test that leaves it running."""
        spec, token = cls.spec_for(provider, cls.arch), uuid.uuid4()
        try:
            yield spec, token, cls.build(provider, spec, token)
        finally:
            cls.clear_away(provider, token)

    @pytest.fixture
    def token(self, provider: Provider) -> Iterator[uuid.UUID]:
        """A token for one test; whatever it made is taken away afterwards."""
        token = uuid.uuid4()
        yield token
        self.clear_away(provider, token)

    @pytest.fixture(autouse=True)
    def _nothing_secret_is_logged(self, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        caplog.set_level(0)
        yield
        assert_no_secret(caplog.text, self.secrets)

    # P1 … P13

    def test_p01_calls_return_at_once(self, provider, token):
        spec = self.spec_for(provider, self.arch)
        for call in (
            provider.check,
            provider.list_zones,
            provider.list_images,
            provider.list_networks,
            lambda: list(provider.list_servers()),
            lambda: self._outcome_of_create(provider, spec, token),
            lambda: provider.find_server(token),
        ):
            began = time.monotonic()
            call()
            assert time.monotonic() - began < self.at_once_s

    def test_p01_driver_never_sleeps(self, provider):
        package = Path(sys.modules[type(provider).__module__].__file__).parent
        files = list(package.rglob("*.py"))
        assert files
        for file in files:
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call):
                    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    assert called != "sleep", f"{file.name}:{node.lineno} sleeps"

    def test_p02_same_token_never_builds_twice(self, provider, shared):
        spec, token, server = shared
        again = provider.create_server(spec, token)
        assert again.ref == server.ref
        assert [s.ref for s in provider.list_servers() if s.token == token] == [server.ref]

    def test_p02_token_lives_in_the_backend(self, provider, shared):
        spec, token, server = shared
        other = self.reopened(provider)
        try:
            found = other.find_server(token)
            assert found is not None
            assert (found.ref, found.token) == (server.ref, token)
            assert other.create_server(spec, token).ref == server.ref
        finally:
            other.close()

    def test_p02_same_token_in_four_threads_builds_one(self, provider, token):
        spec = self.spec_for(provider, self.arch)
        barrier = threading.Barrier(4)

        def create() -> str:
            barrier.wait()
            return self._outcome_of_create(provider, spec, token)

        self._assert_one_was_built(provider, spec, token, in_threads([create] * 4))

    def test_p02_same_token_in_two_processes_builds_one(self, provider, token):
        spec = self.spec_for(provider, self.arch)
        options, state_dir = self.settings(provider)
        given = {
            "driver": f"{type(provider).__module__}:{type(provider).__qualname__}",
            "options": options,
            "state_dir": str(state_dir),
            "spec": asdict(spec),
            "token": str(token),
        }
        text = json.dumps(given, default=str)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        rivals = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.providers.rival"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        try:
            for rival in rivals:
                rival.stdin.write(text + "\n")
                rival.stdin.flush()
            assert [rival.stdout.readline() for rival in rivals] == ["ready\n"] * 2
            for rival in rivals:
                rival.stdin.write("go\n")
                rival.stdin.flush()
            answers = [rival.communicate(timeout=300)[0].strip() for rival in rivals]
        finally:
            for rival in rivals:
                rival.kill()
                rival.communicate()
        self._assert_one_was_built(provider, spec, token, answers)

    def _outcome_of_create(self, provider: Provider, spec: ServerSpec, token: uuid.UUID) -> str:
        """One call: the reference of the server, or the remedy of the refusal."""
        try:
            return provider.create_server(spec, token).ref
        except ProviderError as error:
            assert_safe(error, self.secrets)
            return error.remedy

    def _assert_one_was_built(self, provider: Provider, spec: ServerSpec, token: uuid.UUID, answers: list[str]) -> None:
        made = self.build(provider, spec, token)
        assert [s.ref for s in provider.list_servers() if s.token == token] == [made.ref]
        assert set(answers) <= {made.ref, *MAY_FOLLOW}

    def test_p02_lost_answer_of_a_create_hides_one_server_and_no_second(self, provider, token):
        spec = self.spec_for(provider, self.arch)
        error = self.lose_create(provider, spec, token)
        assert type(error) is UnknownOutcome
        assert_safe(error, self.secrets)
        made = self.build(provider, spec, token)
        assert [s.ref for s in provider.list_servers() if s.token == token] == [made.ref]

    def test_p02_half_built_server_is_completed_by_the_same_token(self, provider, token):
        spec = self.spec_for(provider, self.arch)
        self.leave_half_built(provider, spec, token)
        half = provider.find_server(token)
        assert half is None or half.power is not PowerState.RUNNING
        made = self.build(provider, spec, token)
        assert made.token == token
        assert [s.ref for s in provider.list_servers() if s.token == token] == [made.ref]

    def test_p02_half_built_server_is_found_and_removed_wholly(self, provider, token):
        self.leave_half_built(provider, self.spec_for(provider, self.arch), token)
        found = provider.find_server(token)
        assert found is not None, "an undo finds by token what a killed create left"
        assert found.token == token
        self.clear_away(provider, token)
        self.wait_for(lambda: self.leftovers(provider, token), lambda seen: seen == [])

    def test_p02_two_tokens_may_share_a_name(self, provider, shared, token):
        spec, _, server = shared
        other = self.create(provider, spec, token)
        assert other.ref != server.ref
        assert provider.get_server(server.ref).token != provider.get_server(other.ref).token

    def test_p02_token_that_made_nothing_finds_nothing(self, provider):
        assert provider.find_server(uuid.uuid4()) is None

    def test_p03_deleting_twice_succeeds_and_leaves_nothing(self, provider, token):
        made = self.create(provider, self.spec_for(provider, self.arch), token)
        self.clear_away(provider, token)
        provider.delete_server(made.ref)
        self.wait_for(lambda: self.leftovers(provider, token), lambda seen: seen == [])
        assert token not in {s.token for s in provider.list_servers()}
        with self.refused(NotFound):
            provider.get_server(made.ref)

    @pytest.mark.parametrize("ref", STRANGE_REFS)
    def test_p03_deleting_what_never_was_succeeds(self, provider, ref):
        provider.delete_server(ref)

    def test_p04_sizes_are_exact(self, provider, shared):
        spec, _, server = shared
        seen = provider.get_server(server.ref)
        assert (seen.vcpus, seen.memory_mib) == (spec.vcpus, spec.memory_mib)
        assert (seen.system_disk_gib, seen.data_disk_gib) == (spec.system_disk_gib, spec.data_disk_gib)
        assert (seen.arch, seen.zone) == (spec.arch, spec.zone)
        assert seen.native_uuid is None or uuid.UUID(seen.native_uuid)
        assert seen.name.startswith(spec.name)

    @pytest.mark.parametrize(
        "size", [{"vcpus": 0}, {"memory_mib": 0}, {"system_disk_gib": 0}, {"data_disk_gib": -1}, {"vcpus": -2}], ids=str
    )
    def test_p04_impossible_sizes_are_refused(self, provider, token, size):
        with self.refused(InvalidSpec):
            provider.create_server(self.spec_for(provider, self.arch, **size), token)
        assert self.leftovers(provider, token) == []

    @pytest.mark.parametrize("size", [{"vcpus": 1_000_000}, {"memory_mib": 1 << 40}], ids=str)
    def test_p04_sizes_beyond_every_host_are_refused(self, provider, token, size):
        with self.refused(InvalidSpec, NoCapacity):
            provider.create_server(self.spec_for(provider, self.arch, **size), token)
        assert self.leftovers(provider, token) == []

    @pytest.mark.parametrize("ref", STRANGE_REFS)
    def test_p05_strange_references_are_not_found(self, provider, ref):
        with self.refused(NotFound):
            provider.get_server(ref)

    @pytest.mark.parametrize("wrong", [{"zone": "nowhere"}, {"image": "no-image"}, {"networks": ("no-net",)}], ids=str)
    def test_p05_unknown_parts_of_a_spec_are_refused(self, provider, token, wrong):
        with self.refused(InvalidSpec):
            provider.create_server(self.spec_for(provider, self.arch, **wrong), token)
        assert self.leftovers(provider, token) == []

    def test_p06_unknown_native_state_is_unknown_and_kept(self, provider, shared):
        power, told, native = self.unknown_state(provider, shared[2].ref)
        assert (power, told) == (PowerState.UNKNOWN, native)

    def test_p06_native_state_is_always_told(self, provider, shared):
        assert all(isinstance(s.power, PowerState) and s.native_state for s in provider.list_servers())

    def test_p07_message_hides_what_is_for_operators(self, provider, tmp_path):
        with self.refused(NotFound):
            provider.get_server(str(uuid.uuid4()))
        lost = self.unreachable(tmp_path)
        with self.refused(ProviderError):
            lost.check()
        lost.close()

    def test_p08_lists_include_what_is_not_ours(self, provider, shared):
        _, token, server = shared
        with self.foreign_server(provider) as foreign:
            seen = {s.ref: s.token for s in provider.list_servers()}
            assert seen[foreign] is None
            assert seen[server.ref] == token
            assert provider.get_server(foreign).token is None

    def test_p09_timed_out_write_has_an_unknown_outcome(self, provider):
        error = self.timed_out_write(provider)
        assert type(error) is UnknownOutcome
        assert error.remedy is Remedy.RECONCILE
        assert_safe(error, self.secrets)

    def test_p09_timed_out_read_is_unavailable(self, provider):
        error = self.timed_out_read(provider)
        assert isinstance(error, Unavailable)
        assert error.remedy is Remedy.RETRY
        assert_safe(error, self.secrets)

    def test_p10_backend_that_does_not_answer_is_given_up(self, tmp_path):
        lost = self.unreachable(tmp_path)
        for call in (lost.check, lambda: list(lost.list_servers()), lambda: lost.find_server(uuid.uuid4())):
            began = time.monotonic()
            with self.refused(Unavailable):
                call()
            assert time.monotonic() - began < self.answer_limit_s
        lost.close()

    def test_p11_importing_the_driver_connects_nowhere(self, provider):
        program = (
            f"import {type(provider).__module__}, os, threading\n"
            "def target(fd):\n"
            "    try: return os.readlink(f'/proc/self/fd/{fd}')\n"
            "    except OSError: return ''\n"
            "opened = [target(fd) for fd in os.listdir('/proc/self/fd') if int(fd) > 2]\n"
            "assert not [t for t in opened if t.startswith('socket:')], opened\n"
            "assert threading.active_count() == 1, threading.enumerate()\n"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_p11_opening_connects_lazily(self, tmp_path):
        self.unreachable(tmp_path).close()

    def test_p11_closing_twice_is_quiet(self, provider):
        other = self.reopened(provider)
        other.check()
        other.close()
        other.close()

    def test_p12_no_secret_in_repr_or_refused_options(self, provider, tmp_path):
        assert_no_secret(repr(provider) + str(vars(provider)), self.secrets)
        with pytest.raises(ValidationError) as caught:
            type(provider).open({"no_such_option": "hunter2"}, backend="contract", state_dir=tmp_path)
        assert_no_secret(str(caught.value) + repr(caught.value), ("hunter2",))

    def test_p13_architectures_are_normalised(self, provider, shared):
        assert all(isinstance(zone.arch, Architecture) for zone in provider.list_zones())
        assert all(image.arch is None or isinstance(image.arch, Architecture) for image in provider.list_images())
        assert all(s.arch is None or isinstance(s.arch, Architecture) for s in provider.list_servers())
        assert all(zone.cpu.raw for zone in provider.list_zones()), "the strings a processor was recognised by are kept"

    def test_p13_other_architecture_than_the_zone_is_refused(self, provider, token):
        other = next(arch for arch in Architecture if arch is not self.arch)
        wrong = replace(self.spec_for(provider, self.arch), arch=other)
        before = self.changes_sent(provider)
        with self.refused(InvalidSpec):
            provider.create_server(wrong, token)
        assert self.changes_sent(provider) == before, "refused before the backend is asked to change anything"
        assert self.leftovers(provider, token) == []

    def test_p13_image_of_another_architecture_is_refused(self, provider, token):
        images = [image for image in provider.list_images() if image.arch is not self.arch]
        assert images, "offer one image of another architecture, so that this can be shown"
        assert any(image.arch is None for image in images) or not self.unlabelled_image
        before = self.changes_sent(provider)
        for image in images:
            wrong = self.spec_for(provider, self.arch, image=image.ref, system_disk_gib=max(1, image.min_disk_gib))
            with self.refused(InvalidSpec):
                provider.create_server(wrong, token)
        assert self.changes_sent(provider) == before, "refused before the backend is asked to change anything"
        assert self.leftovers(provider, token) == []

    # What every driver does besides

    def test_running_server_has_an_address(self, provider, shared):
        spec, _, server = shared
        seen = self.wait_for(
            lambda: provider.get_server(server.ref),
            lambda s: bool(s.ipv4 or s.ipv6) or not spec.networks or not self.gives_addresses,
        )
        assert seen.networks is None or set(spec.networks) <= set(seen.networks)
        assert len(set(seen.ipv4)) == len(seen.ipv4)

    def test_registry_loads_the_driver_by_its_name(self, provider):
        assert registry.load(provider.name) is type(provider)
        assert self.driver in {provider.name, type(provider)}, "name the driver in the test class"

    def test_many_threads_may_read_at_once(self, provider, shared):
        _, token, server = shared
        answers = in_threads([lambda: provider.find_server(token).ref] * 8)
        assert answers == [server.ref] * 8

    def test_options_refuse_unknown_keys(self, provider):
        assert type(provider).Options.model_config["extra"] == "forbid"
