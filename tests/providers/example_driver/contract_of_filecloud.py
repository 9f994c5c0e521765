"""The contract, run on the installed package as its author would: `python -m pytest contract_of_filecloud.py`."""

import errno
import os
from contextlib import closing, contextmanager
from unittest.mock import patch

import pytest
from filecloud import FileCloud, reaching

from cloudmgr.domain.architectures import Architecture
from providers.errors import ProviderError
from tests.providers.contract import ProviderContract


class TestFileCloud(ProviderContract):
    driver = "filecloud"
    arch = Architecture.X86_64

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, tmp_path_factory):
        cls.folder = tmp_path_factory.mktemp("share")
        images = {"openeuler-x86": "x86_64", "openeuler-arm": "aarch64"}
        cls.options = {"folder": str(cls.folder), "images": images}
        with closing(FileCloud.open(cls.options, backend="files", state_dir=cls.folder)) as provider:
            yield provider

    @classmethod
    def settings(cls, provider):
        return cls.options, cls.folder

    @classmethod
    def unreachable(cls, state_dir):
        options = {"folder": str(state_dir / "not-mounted"), "images": {}}
        return FileCloud.open(options, backend="lost", state_dir=state_dir)

    @classmethod
    def leave_half_built(cls, provider, spec, token):
        (cls.folder / "servers" / str(token)).mkdir(parents=True)

    @classmethod
    def lose_create(cls, provider, spec, token):
        with patch("os.link", side_effect=_and_then_lose(os.link)), pytest.raises(ProviderError) as caught:
            provider.create_server(spec, token)
        return caught.value

    @classmethod
    @contextmanager
    def foreign_server(cls, provider):
        (cls.folder / "servers" / "somebody-elses").mkdir(parents=True)
        yield "somebody-elses"
        (cls.folder / "servers" / "somebody-elses").rmdir()

    @classmethod
    def unknown_state(cls, provider, ref):
        file = cls.folder / "servers" / ref / "server.json"
        told = file.read_text()
        file.write_text(told.replace('"running"', '"levitating"'))
        seen = provider.get_server(ref)
        file.write_text(told)
        return seen.power, seen.native_state, "levitating"

    @classmethod
    def timed_out_write(cls, provider):
        with pytest.raises(ProviderError) as caught, reaching(write=True):
            raise OSError(errno.ETIMEDOUT, "the server of the share does not answer")
        return caught.value

    @classmethod
    def timed_out_read(cls, provider):
        with pytest.raises(ProviderError) as caught, reaching():
            raise OSError(errno.ETIMEDOUT, "the server of the share does not answer")
        return caught.value


def _and_then_lose(call):
    def lossy(*args):
        call(*args)
        raise OSError(errno.ETIMEDOUT, "the server of the share does not answer")

    return lossy
