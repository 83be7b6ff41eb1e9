#!/usr/bin/env bash
# What the suite needs besides Python packages: real peers from Debian's packages. Installs what is missing where it
# may (root, apt), else says what is missing and fails: a suite that skips its real peers proves nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || packages+=(postgresql)
command -v psql >/dev/null || packages+=(postgresql-client)
ls /usr/lib/postgresql/*/bin/pgbench >/dev/null 2>&1 || command -v pgbench >/dev/null || packages+=(postgresql-contrib)
command -v pgbouncer >/dev/null || packages+=(pgbouncer)
command -v curl >/dev/null || packages+=(curl)
[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || packages+=(nginx-light)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)

if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing for the tests: ${packages[*]}" >&2
        apt-get update -qq >/dev/null
        # No cluster and no running daemon: the tests start what they need themselves.
        mkdir -p /etc/postgresql-common
        [ -e /etc/postgresql-common/createcluster.conf ] ||
            echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
        DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    else
        echo "the tests need these Debian packages: ${packages[*]}" >&2
        echo "install them (sudo apt-get install ${packages[*]}) and run again" >&2
        exit 1
    fi
fi

# node-postgres, by its own lock file.
if [ -f tests/e2e/node/package-lock.json ] && [ ! -d tests/e2e/node/node_modules ]; then
    (cd tests/e2e/node && npm ci --silent --no-audit --no-fund)
fi
