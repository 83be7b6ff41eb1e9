"""Write requirements.lock from the workspace's pyproject files, or check that it is what they say.

The lock is a requirements file with hashes for every package of every member and group. It names no index, so it
can be installed from whichever index a machine is set up for (docs/adr/0002).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"


def export(into: Path) -> None:
    """Resolve (keeping what is locked where it still fits) and export with hashes."""
    uv = ROOT / ".venv" / "bin" / "uv"
    subprocess.run([uv, "lock", "--quiet"], cwd=ROOT, check=True)
    subprocess.run(
        [uv, "export", "--quiet", "--frozen", "--all-packages", "--all-groups", "--no-emit-workspace",
         "--no-header", "--no-annotate", "-o", into],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def declared() -> set[str]:
    """Names every pyproject of the workspace asks for."""
    import re
    import tomllib

    names: set[str] = set()
    for path in [ROOT / "pyproject.toml", *ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml"),
                 *ROOT.glob("deploy/*/pyproject.toml")]:  # fmt: skip
        document = tomllib.loads(path.read_text())
        wanted: list[str] = list(document.get("project", {}).get("dependencies", []))
        for group in document.get("dependency-groups", {}).values():
            wanted += group
        names |= {re.split(r"[\[<>=!~ ;]", item)[0].lower().replace("_", "-") for item in wanted}
    return {name for name in names if not name.startswith("weirgate")}


def check() -> int:
    """Say whether the lock holds everything the workspace asks for, pinned and with hashes.

    Works without an index: a lock that is merely older than the newest release is still right.
    """
    locked: dict[str, str] = {}
    hashes: dict[str, int] = {}
    name = ""
    for line in LOCK.read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            name, _, version = line.partition("==")
            locked[name] = version.split()[0] if version else ""
        elif "--hash=sha256:" in line:
            hashes[name] = hashes.get(name, 0) + 1
    wrong = [f"{name} is not pinned" for name, version in locked.items() if not version]
    wrong += [f"{name} has no hash" for name in locked if name not in hashes]
    wrong += [f"{name} is asked for and not in the lock" for name in sorted(declared() - locked.keys())]
    for line in wrong:
        print(f"requirements.lock: {line}; run make lock", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(check())
    with tempfile.TemporaryDirectory() as directory:
        fresh = Path(directory) / "requirements.lock"
        export(fresh)
        LOCK.write_text(fresh.read_text())
