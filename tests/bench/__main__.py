"""`make bench`: the gateway beside going direct and through pgbouncer, in one run, as ratios.

Every figure of one row is taken in turn (direct, pgbouncer, weirgate, direct …) so that a machine that changes its
speed changes all of them. Medians over the rounds. The JSON that is written holds every round.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil

from weirgate_embedded.postgres import unprivileged
from weirgate_testkit.gateway import RunningGateway, running_gateway
from weirgate_testkit.port import free_port
from weirgate_testkit.raw import Drained, drain
from weirgate_testkit.web import http, origin

POINT_QUERY = "\\set id random(1, 600)\nselect name, price from products where id = :id;\n"
ROWS = "select id, name, email, sku, card, city, amount, created_at from bench_rows"


def main() -> int:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="of each pgbench round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--many-rows", type=int, default=10_000_000, help="of the memory run; 0: leave it out"
    )
    parser.add_argument(
        "--only", choices=["latency", "throughput", "rows", "memory", "http"], action="append"
    )
    parser.add_argument("--out", type=Path, default=Path(f"bench-{time.strftime('%Y%m%d-%H%M%S')}.json"))
    asked = parser.parse_args()
    wanted = asked.only or ["latency", "throughput", "rows", "memory", "http"]
    figures: dict[str, Any] = {
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "kernel": platform.release(),
        },
        "asked": {key: str(value) for key, value in vars(asked).items()},
    }
    with tempfile.TemporaryDirectory(prefix="weirgate-bench-") as name:
        directory = Path(name)
        with running_gateway(directory / "gateway", port_base=18400) as gateway:
            if "http" in wanted:
                tell("http")
                with origin(directory / "origin", gateway, mitmproxy(directory / "mitmproxy")) as web:
                    figures |= http(web, asked.rounds, asked.seconds)
            if set(wanted) == {"http"}:
                return finish(figures, asked.out)
            tell("making one table of rows to stream")
            prepare(gateway, asked.rows)
            with pgbouncer(directory / "pgbouncer", gateway) as bouncer:
                ways = {
                    "direct": gateway.direct_url(),
                    "pgbouncer": bouncer,
                    "weirgate": gateway.url("admin-bot", parameters="?sslmode=disable"),
                }
                if "latency" in wanted:
                    figures["latency c=1, us"] = latency(ways, asked.rounds, asked.seconds, directory)
                if "throughput" in wanted:
                    for clients in (8, 32):
                        for mode in ("simple", "prepared"):
                            figures[f"statements/s c={clients} {mode}"] = throughput(
                                ways, asked.rounds, asked.seconds, clients, mode, directory
                            )
                if "rows" in wanted:
                    masked = {"weirgate masked": gateway.url("reader", parameters="?sslmode=disable")}
                    figures["rows/s"] = rows(ways | masked, asked.rounds)
                if "memory" in wanted and asked.many_rows:
                    figures["memory"] = memory(gateway, asked.rows, asked.many_rows)
    return finish(figures, asked.out)


def finish(figures: dict[str, Any], out: Path) -> int:
    """Write and print what was measured."""
    out.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures)
    tell(f"every round stands in {out}")
    return 0


def tell(line: str) -> None:
    """Say on stderr what is going on."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def mitmproxy(directory: Path) -> Path:
    """Install mitmproxy by its own lock, in an environment of its own: it pins what our services use newer."""
    tell("installing mitmproxy")
    here = Path(__file__).resolve().parent
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    subprocess.run(
        [str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--require-hashes",
         "--python", str(directory / "bin/python"), "-r", str(here / "mitmproxy.lock")],
        check=True,
    )  # fmt: skip
    return directory / "bin" / "mitmdump"


def prepare(gateway: RunningGateway, count: int) -> None:
    """Make the table to stream, its labels included."""
    subprocess.run(
        ["psql", "-Xq", "-v", "ON_ERROR_STOP=1", gateway.direct_url(superuser=True), "-c",
         "create table bench_rows as select n as id, 'Name ' || n as name, 'person' || n || '@example.com' as email, "
         "'SKU-' || n % 900 as sku, '400000' || lpad((n % 1000000000)::text, 10, '0') as card, "
         "'Town ' || n % 100 as city, (n % 100000) / 100.0 as amount, "
         f"timestamptz '2024-01-01' + make_interval(secs => n) as created_at from generate_series(1, {count}) n",
         "-c", "grant select on bench_rows to shop_app", "-c", "vacuum analyze bench_rows"],
        check=True,
    )  # fmt: skip
    document = gateway.directory / "bench-labels.yaml"
    document.write_text(
        "kind: labels\nresource: shop\ncolumns:\n"
        # By the starter rules: redacted, and all but the last four digits starred.
        "  public.bench_rows.email: pii.contact\n  public.bench_rows.card: payment.card\n"
    )
    applied = gateway.weirgate("apply", "-f", str(document), check=False)
    if applied.returncode != 0:
        raise SystemExit(applied.stderr)
    deadline = time.monotonic() + 60
    while not _probe(gateway).startswith("bench_rows"):
        if time.monotonic() > deadline:
            raise SystemExit("the gateway does not see the new table: " + _probe(gateway))
        time.sleep(1)


def _probe(gateway: RunningGateway) -> str:
    done = subprocess.run(
        ["psql", "-XAt", gateway.url("reader"), "-c", "select 'bench_rows' from bench_rows limit 1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@contextlib.contextmanager
def pgbouncer(directory: Path, gateway: RunningGateway) -> Generator[str]:
    """Run pgbouncer in session mode, one upstream connection an agent as we do."""
    directory.mkdir()
    shop = gateway.endpoints["upstreams"]["shop"]
    secret = Path(shop["password_file"]).read_text().strip()
    port = free_port()
    (directory / "users.txt").write_text(f'"{shop["user"]}" "{secret}"\n')
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\nshop = host={shop['host']} port={shop['port']} dbname={shop['database']}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n"
        f"auth_file = {directory / 'users.txt'}\npool_mode = session\nmax_client_conn = 200\ndefault_pool_size = 100\n"
        f"logfile = {directory / 'log'}\nignore_startup_parameters = extra_float_digits\n"
    )
    for path in (directory, directory.parent):
        path.chmod(0o755)
    (directory / "log").touch()
    (directory / "log").chmod(0o666)
    argv, extra = unprivileged(["pgbouncer", "-q", str(directory / "pgbouncer.ini")])
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **extra)
    try:
        time.sleep(1)
        if process.poll() is not None:
            raise SystemExit("pgbouncer did not start: " + (directory / "log").read_text()[-800:])
        yield f"postgresql://{shop['user']}:{secret}@127.0.0.1:{port}/shop"
    finally:
        process.terminate()
        process.wait(10)


def pgbench(
    url: str, directory: Path, *, seconds: int, clients: int, mode: str, log: bool = False
) -> dict[str, Any]:
    """Run pgbench and return what it measured; with ``log`` every latency, microseconds."""
    script = directory / "point.sql"
    script.write_text(POINT_QUERY)
    for old in directory.glob("times.*"):
        old.unlink()
    binary = _pgbench()
    done = subprocess.run(
        [binary, "-n", "-f", str(script), "-M", mode, "-c", str(clients), "-j", "1", "-T", str(seconds),
         *(["-l", f"--log-prefix={directory / 'times'}"] if log else []), url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"pgbench: {done.stderr[-1500:]}")
    tps = next(float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("tps = "))
    times = [
        int(line.split()[2]) for path in directory.glob("times.*") for line in path.read_text().splitlines()
    ]
    return {"tps": tps, "times": sorted(times)}


def _pgbench() -> str:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))
    return str(found[-1]) if found else "pgbench"


def in_turn(ways: dict[str, str], rounds: int, measure: Callable[[str], float]) -> dict[str, list[float]]:
    """Measure each way once a round."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, url in ways.items():
            taken[name].append(measure(url))
    return taken


def latency(ways: dict[str, str], rounds: int, seconds: int, directory: Path) -> dict[str, Any]:
    """One agent, one statement after another."""
    taken: dict[str, dict[str, list[float]]] = {name: {"p50": [], "p99": []} for name in ways}
    for number in range(rounds):
        tell(f"latency, round {number + 1} of {rounds}")
        for name, url in ways.items():
            times = pgbench(url, directory, seconds=seconds, clients=1, mode="simple", log=True)["times"]
            taken[name]["p50"].append(times[len(times) // 2])
            taken[name]["p99"].append(times[int(len(times) * 0.99)])
    middle = {name: {q: statistics.median(v) for q, v in each.items()} for name, each in taken.items()}
    added = {q: middle["weirgate"][q] - middle["direct"][q] for q in ("p50", "p99")}
    return {"median": middle, "added by weirgate": added, "rounds": taken}


def throughput(
    ways: dict[str, str], rounds: int, seconds: int, clients: int, mode: str, directory: Path
) -> dict[str, Any]:
    """Many agents at once."""
    tell(f"statements/s, {clients} agents, {mode}")
    taken = in_turn(
        ways, rounds, lambda url: pgbench(url, directory, seconds=seconds, clients=clients, mode=mode)["tps"]
    )
    return ratios(taken)


def rows(ways: dict[str, str], rounds: int) -> dict[str, Any]:
    """One million rows of eight columns, drained by a client that looks at nothing."""
    tell("rows/s")

    def measure(url: str) -> float:
        got: Drained = drain(url, ROWS)
        return got.rows / got.seconds

    return ratios(in_turn(ways, rounds, measure))


def ratios(taken: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and each as a part of going direct."""
    middle = {name: statistics.median(values) for name, values in taken.items()}
    return {
        "median": middle,
        "of direct": {name: value / middle["direct"] for name, value in middle.items()},
        "rounds": taken,
    }


def memory(gateway: RunningGateway, few: int, many: int) -> dict[str, Any]:
    """Peak resident memory of ingress while few and while many rows pass, masked."""
    out: dict[str, Any] = {}
    process = psutil.Process(gateway.pid("ingress"))
    out["before MiB"] = process.memory_info().rss / 2**20
    for label, times in (("few", 1), ("many", max(1, many // few))):
        tell(f"memory, {few * times:,} rows")
        peak = 0
        sql = f"{ROWS} cross join generate_series(1, {times}) g"

        def watch() -> None:
            nonlocal peak
            peak = max(peak, process.memory_info().rss)

        got = drain(gateway.url("reader", parameters="?sslmode=disable"), sql, every_s=0.1, call=watch)
        out[f"{label}: {got.rows} rows, peak MiB"] = peak / 2**20
        out[f"{label}: rows/s"] = got.rows / got.seconds
    return out


def show(figures: dict[str, Any]) -> None:
    """Print the table."""
    for name, figure in figures.items():
        if name in ("machine", "asked"):
            continue
        print(f"\n{name}")
        if "median" not in figure:
            for key, value in figure.items():
                print(f"  {key:32} {value:12,.1f}")
            continue
        for way, value in figure["median"].items():
            if isinstance(value, dict):
                print(f"  {way:18} " + "  ".join(f"{q} {v:10,.0f}" for q, v in value.items()))
            else:
                print(f"  {way:18} {value:12,.0f}   {figure['of direct'][way]:6.3f} of direct")
        if "added by weirgate" in figure:
            print(
                "  added by weirgate  "
                + "  ".join(f"{q} {v:10,.0f}" for q, v in figure["added by weirgate"].items())
            )


if __name__ == "__main__":
    sys.exit(main())
