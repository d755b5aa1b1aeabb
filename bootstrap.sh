#!/bin/sh
# Make a virtual environment with tox in it, .venv. With "servers", install the
# database servers and what their drivers are built with as well (Debian, Ubuntu).
set -eu
cd "$(dirname "$0")"

install() {
    if ! command -v apt-get >/dev/null; then
        echo "Install the equivalent of: $*" >&2
        exit 1
    fi
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    $as_root apt-get update -q
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@"
}

if [ "${1-}" = servers ]; then
    install mariadb-server-core mariadb-client tzdata postgresql openssl pgbouncer \
        redis-server libmariadb-dev gcc pkg-config python3-dev
fi
# Debian's Python lacks the part that puts pip into a virtual environment.
python3 -c "import ensurepip" 2>/dev/null || install python3-venv
python3 -m venv .venv
.venv/bin/pip install --quiet "tox>=4.14"
