"""Serve one version: `python -m pipelines.serve --folder artifacts/variants/int8-weight --slot blue --port 8001`.

The folder is verified against its manifest before anything is loaded. SIGTERM stops it without losing a request. The
API, the metrics and the environment variables are described in serving/README.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import runtimes
from core import cli
from models import manifest
from serving import server_settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, required=True, help="a variant's folder with its manifest.json")
    parser.add_argument("--slot", choices=("blue", "green"), required=True)
    for name, field in server_settings.Settings.model_fields.items():
        if name not in {"folder", "slot", "api_keys_file", "redis_url"}:
            text = f"{field.description or ''} (default: {field.default})".strip()
            parser.add_argument(f"--{name.replace('_', '-')}", help=text)
    found = server_settings.make(vars(parser.parse_args()))
    runtimes.switch_interpreter_for(manifest.read(found.folder).runtime)

    from serving import logs, process, service  # after the command line is checked: they load a lot

    logs.configure()
    return process.run(service.load(found))


if __name__ == "__main__":
    cli.run(main, server=True)
