"""NATS for a cluster, from the command line: keys, configuration, streams.

``python -m weirgate_bus keys DIR`` makes the missing keys, ``render`` writes ``nats-server.conf``, ``provision``
makes and checks the streams. What they mean stands in ``deploy/nats/README.md``.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from weirgate_bus import topology
from weirgate_bus.nkey import Signer, read_seed
from weirgate_bus.port import BusError
from weirgate_bus.provision import make_keys, provision


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m weirgate_bus", description=(__doc__ or "").splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    keys = commands.add_parser("keys", help="make the NKey of every user that has none")
    keys.add_argument("directory", type=Path)
    render = commands.add_parser("render", help="write nats-server.conf to stdout")
    render.add_argument("--keys", type=Path, required=True, help="directory of <user>.nk")
    render.add_argument("--listen", default="0.0.0.0:4222")
    render.add_argument("--store", default="/data")
    render.add_argument("--server-name", default="weirgate")
    render.add_argument("--cluster-file", type=Path, help="text of a cluster {} block")
    make = commands.add_parser("provision", help="make the streams, and check those that stand")
    make.add_argument("--keys", type=Path, required=True, help="directory of provision.nk and mirror.nk")
    make.add_argument("--url", required=True)
    make.add_argument("--audit-bytes", type=int, required=True)
    make.add_argument("--recording-bytes", type=int, required=True)
    make.add_argument("--replicas", type=int, default=1)
    make.add_argument("--without-mirror", action="store_true")
    return parser


def main() -> int:
    """Run one command; returns the exit status."""
    given = _parser().parse_args()
    try:
        match given.command:
            case "keys":
                for user, public in make_keys(given.directory).items():
                    print(user, public)
            case "render":
                keys = {user: Signer(read_seed(given.keys / f"{user}.nk")).public for user in topology.USERS}
                cluster = given.cluster_file.read_text() if given.cluster_file else None
                text = topology.render(
                    keys,
                    listen=given.listen,
                    store=given.store,
                    server_name=given.server_name,
                    cluster=cluster,
                )
                sys.stdout.write(text)
            case _:
                limits = topology.Limits(
                    audit_bytes=given.audit_bytes,
                    recording_bytes=given.recording_bytes,
                    replicas=given.replicas,
                )
                mirror = None if given.without_mirror else given.keys / "mirror.nk"
                asyncio.run(
                    provision(given.url, given.keys / "provision.nk", limits, mirror_seed_file=mirror)
                )
    except (BusError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
