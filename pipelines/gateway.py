"""Operate the local gateway: `python -m pipelines.gateway up|down|restart|route`.

up        start Envoy with the route it had last (a first `python -m pipelines.promote` does so by itself)
down      end Envoy and both slots, after their open requests: users reach nothing any more
restart   end Envoy after its open requests and start it with what params say now; the slots go on, but new requests
          are refused meanwhile
route     print the route as Envoy reports it, as one JSON object
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from core import cli, params
from gateway import render
from rollout.params import RolloutSettings
from rollout.targets import local


def main(argv: Sequence[str] | None = None, settings: RolloutSettings | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("up", "down", "restart", "route"))
    parser.add_argument("--grace-s", type=float, default=10.0, help="of down and restart: for open requests")
    given = parser.parse_args(argv)
    settings = settings or params.load(RolloutSettings)
    gateway = local.connect(settings).gateway
    if given.verb == "down":
        local.down(settings, given.grace_s)
        return
    if given.verb == "restart":
        gateway.stop(given.grace_s)
    if given.verb in ("up", "restart"):
        gateway.start()
    print(json.dumps({"url": gateway.url} | render.as_json(gateway.observed())))


if __name__ == "__main__":
    cli.run(main)
