"""Another process that creates with the same token at the same moment: one line of JSON in, `ready` out, any line in, answer out."""

import importlib
import json
import sys
import uuid
from pathlib import Path

from cloudmgr.domain.architectures import Architecture
from providers.base import ServerSpec
from providers.errors import ProviderError


def main() -> None:
    given = json.loads(sys.stdin.readline())
    module, _, name = given["driver"].partition(":")
    driver = getattr(importlib.import_module(module), name)
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in given["spec"].items()}
    spec = ServerSpec(**fields | {"arch": Architecture(fields["arch"]), "addresses": (), "spread_group": None})
    provider = driver.open(given["options"], backend="rival", state_dir=Path(given["state_dir"]))
    provider.check()
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        print(provider.create_server(spec, uuid.UUID(given["token"])).ref, flush=True)
    except ProviderError as error:
        print(error.remedy, flush=True)
    finally:
        provider.close()


if __name__ == "__main__":
    main()
