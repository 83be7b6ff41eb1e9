"""Accounts, users, permissions and streams, as code. Pure: it renders text and values, it touches nothing.

``deploy/nats`` explains it to operators. What holds:

* A user may publish on the subjects ``weirgate_contracts.subjects.WRITES`` gives it, and on exactly the
  JetStream calls it needs to read. Everything else is refused by the server.
* Nobody but ``provision`` may create, change, purge or delete a stream or a message, and no service runs as
  ``provision``.
* Durable consumers have fixed names, so that no user can take messages from another's. Reading without a
  durable is by ephemeral push consumers, which only the caller's own inbox hears.
* The mirror of AUDIT lives in an account of its own: whoever takes over APP, provision included, cannot touch
  it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weirgate_contracts.subjects import (
    AUDIT_STREAM,
    AUDIT_SUBJECTS,
    RECORDING_STREAM,
    RECORDING_SUBJECTS,
    STORED_PREFIX,
    WRITES,
)

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
MIRROR_STREAM = "AUDIT_MIRROR"
CHECK_SUBJECT = "gateway.check.server"
"""Where a service asks the servers how they are configured (an import from the system account)."""

SERVICES = (*WRITES, "auditor")
"""Users of the APP account beside ``provision``. The auditor (a SIEM, a person with a verifier) only reads
AUDIT."""
USERS = ("provision", *SERVICES, "mirror", "system")
"""Every NKey there is."""

DURABLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "approval": {AUDIT_STREAM: ("approval",)},
    "recorder": {AUDIT_STREAM: ("recorder", "chain"), RECORDING_STREAM: ("recorder-frames",)},
    "console": {AUDIT_STREAM: ("console",)},
    "auditor": {AUDIT_STREAM: ("auditor",)},
}
"""Names of the durable consumers each user may have, per stream."""

_READS: Mapping[str, tuple[str, ...]] = {
    "ingress": (AUDIT_STREAM,),
    "policy": (AUDIT_STREAM,),
    "masking": (AUDIT_STREAM,),
    "approval": (AUDIT_STREAM,),
    "recorder": (AUDIT_STREAM, RECORDING_STREAM),
    "console": (AUDIT_STREAM, RECORDING_STREAM),
    "auditor": (AUDIT_STREAM,),
}
_HEARS: Mapping[str, tuple[str, ...]] = {
    "ingress": ("stored.audit.>", "control.session.kill.>"),
    "policy": ("stored.audit.>", "audit.operation.>", "audit.session.closed.>"),
    "masking": ("stored.audit.>", "audit.operation.>"),
    "approval": ("stored.audit.>",),
    "recorder": ("stored.audit.>",),
    "console": ("stored.audit.>",),
    "auditor": ("stored.audit.>",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the log may hold. Full, it refuses; it never forgets."""

    audit_bytes: int = 8 * 1024**3
    recording_bytes: int = 32 * 1024**3
    replicas: int = 1


def inbox(user: str) -> str:
    """Return the prefix of the subjects only this user hears."""
    return f"_INBOX_{user}"


def _calls(user: str) -> list[str]:
    """JetStream calls a user needs, and no other."""
    calls = ["$JS.API.INFO", CHECK_SUBJECT]
    for stream in _READS[user]:
        calls += [
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.STREAM.MSG.GET.{stream}",
            # Without a name in the subject the server takes only an ephemeral consumer it names itself.
            f"$JS.API.CONSUMER.CREATE.{stream}",
            f"$JS.FC.{stream}.>",
        ]
        for durable in DURABLES.get(user, {}).get(stream, ()):
            calls += [
                f"$JS.API.CONSUMER.CREATE.{stream}.{durable}",
                f"$JS.API.CONSUMER.INFO.{stream}.{durable}",
                f"$JS.API.CONSUMER.RESET.{stream}.{durable}",
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
                f"$JS.ACK.{stream}.{durable}.>",
                f"$JS.ACK.*.*.{stream}.{durable}.>",
            ]
    return calls


def permissions(user: str) -> dict[str, Any]:
    """Return what a user of the APP account may publish and subscribe to, as the server's configuration has
    it.

    Raises:
        KeyError: there is no such user.
    """
    own = f"{inbox(user)}.>"
    if user == "provision":
        return {
            "publish": {"allow": ["$JS.API.>", CHECK_SUBJECT], "deny": ["audit.>", "recording.>"]},
            "subscribe": {"allow": [own]},
        }
    return {
        "publish": {"allow": [*WRITES.get(user, ()), *_calls(user)]},
        "subscribe": {"allow": [own, *_HEARS[user]]},
    }


def stream_config(name: str, limits: Limits) -> dict[str, Any]:
    """Return a stream's settings, as asked for and as they must read back.

    Raises:
        KeyError: there is no such stream.
    """
    common: dict[str, Any] = {
        "name": name,
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "discard_new_per_subject": False,
        "num_replicas": limits.replicas,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_age": 0,
        "max_msg_size": -1,
        "duplicate_window": 120_000_000_000,
        "no_ack": False,
        "sealed": False,
        "deny_delete": True,
        "deny_purge": True,
        "allow_rollup_hdrs": False,
        "allow_direct": False,
        "mirror_direct": False,
        "allow_msg_ttl": False,
        "allow_atomic": True,
    }
    match name:
        case "AUDIT":
            return common | {
                "subjects": [AUDIT_SUBJECTS],
                "max_bytes": limits.audit_bytes,
                "compression": "none",
                "republish": {
                    "src": AUDIT_SUBJECTS,
                    "dest": STORED_PREFIX + AUDIT_SUBJECTS,
                    "headers_only": False,
                },
            }
        case "RECORDING":
            return common | {
                "subjects": [RECORDING_SUBJECTS],
                "max_bytes": limits.recording_bytes,
                "compression": "s2",
            }
        case _:
            raise KeyError(name)


def mirror_config(limits: Limits) -> dict[str, Any]:
    """Return the settings of the mirror of AUDIT in the account MIRROR."""
    prefix = {"api": "$JS.APP.API", "deliver": "mirror.deliver"}
    return {
        "name": MIRROR_STREAM,
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": limits.replicas,
        "max_age": 0,
        "max_bytes": limits.audit_bytes,
        "deny_delete": True,
        "deny_purge": True,
        "allow_rollup_hdrs": False,
        "compression": "none",
        "mirror": {"name": AUDIT_STREAM, "external": prefix},
    }


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Say in which settings a stream is not what was asked for. An absent setting counts as off."""
    return [
        f"{key} is {found.get(key)!r}, not {value!r}"
        for key, value in wanted.items()
        if (found.get(key) or None) != (value or None)
        and not (key == "mirror" and _same_mirror(value, found.get(key)))
        and not (key == "republish" and _same_republish(value, found.get(key)))
    ]


def _same_mirror(wanted: Any, found: Any) -> bool:
    return isinstance(found, dict) and all(found.get(key) == value for key, value in wanted.items())


def _same_republish(wanted: Any, found: Any) -> bool:
    return isinstance(found, dict) and all(
        (found.get(key) or None) == (value or None) for key, value in wanted.items()
    )


def render(
    keys: Mapping[str, str],
    *,
    listen: str,
    store: str,
    monitor: str | None = None,
    server_name: str = "weirgate",
    cluster: str | None = None,
    max_store_bytes: int | None = None,
) -> str:
    """Render ``nats-server.conf``.

    Args:
        keys: public NKey of every user of ``USERS``.
        listen: ``host:port`` for services.
        store: directory of the log, absolute.
        monitor: ``host:port`` of the monitoring endpoint; ``None``: off, it knows no login.
        cluster: text of a ``cluster {}`` block, for more than one server.

    Raises:
        KeyError: a user has no key.
    """
    app_users = [{"nkey": keys[user], "permissions": permissions(user)} for user in ("provision", *SERVICES)]
    create = f"$JS.API.CONSUMER.CREATE.{AUDIT_STREAM}"
    lines = [
        f"server_name: {json.dumps(server_name)}",
        f"listen: {json.dumps(listen)}",
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        "max_pending: 134217728",
        'ping_interval: "5s"',
        "ping_max: 2",
        'write_deadline: "5s"',
        "# fsync before every acknowledgement; read back by every service before it starts.",
        "jetstream {",
        f"  store_dir: {json.dumps(store)}",
        "  sync_interval: always",
        *([f"  max_file_store: {max_store_bytes}"] if max_store_bytes is not None else []),
        "}",
    ]
    if monitor:
        lines.append(f"http: {json.dumps(monitor)}")
    if cluster:
        lines.append(cluster.strip())
    lines += [
        "system_account: SYS",
        "accounts {",
        "  SYS {",
        f"    users: [{json.dumps({'nkey': keys['system']})}]",
        "    # Services may ask how the servers are configured (is every write synced?), and nothing else.",
        '    exports: [{service: "$SYS.REQ.SERVER.PING.JSZ", response: stream, accounts: [APP]}]',
        "  }",
        "  APP {",
        "    jetstream: enabled",
        "    imports: [",
        f'      {{service: {{account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ"}}, to: "{CHECK_SUBJECT}"}}',
        "    ]",
        "    exports: [",
        "      # What the mirror needs, and no more: its consumer on AUDIT, and what that delivers.",
        f'      {{service: "{create}.>", response: stream, accounts: [MIRROR]}}',
        f'      {{service: "{create}", response: stream, accounts: [MIRROR]}}',
        f'      {{service: "$JS.FC.{AUDIT_STREAM}.>", accounts: [MIRROR]}}',
        '      {stream: "mirror.deliver.>", accounts: [MIRROR]}',
        "    ]",
        "    users: [",
        *(f"      {json.dumps(user)}" for user in app_users),
        "    ]",
        "  }",
        "  MIRROR {",
        "    jetstream: enabled",
        "    imports: [",
        f'      {{service: {{account: APP, subject: "$JS.API.CONSUMER.CREATE.{AUDIT_STREAM}.>"}}, '
        f'to: "$JS.APP.API.CONSUMER.CREATE.{AUDIT_STREAM}.>"}}',
        f'      {{service: {{account: APP, subject: "$JS.API.CONSUMER.CREATE.{AUDIT_STREAM}"}}, '
        f'to: "$JS.APP.API.CONSUMER.CREATE.{AUDIT_STREAM}"}}',
        f'      {{service: {{account: APP, subject: "$JS.FC.{AUDIT_STREAM}.>"}}}}',
        '      {stream: {account: APP, subject: "mirror.deliver.>"}}',
        "    ]",
        f"    users: [{json.dumps({'nkey': keys['mirror']})}]",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"
