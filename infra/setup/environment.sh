#!/usr/bin/env bash
# Makes the Python environment (.venv) from requirements.lock. Needs Python 3.11 to 3.13 and the network; nothing else.
# uv comes from PATH, or from pip, or from a throw-away venv, or from the system's python3-pip: Debian's python3 has no ensurepip.
set -euo pipefail
cd "$(dirname "$0")/../.."
unset PYTHONDONTWRITEBYTECODE PYTHONPATH

say() { printf '· %s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

# A sign of life while a quiet command works, for those who watch a log.
alive() {
    "$@" &
    local worker=$! waited=0
    while kill -0 "$worker" 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
        if [ $((waited % 8)) = 0 ]; then printf '  … still at it (%s s)\n' "$waited"; fi
    done
    wait "$worker"
}

find_python() {
    for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "No Python 3.11, 3.12 or 3.13 found. What to do: install one (Debian: apt-get install python3), or name it: make setup PYTHON=/path/to/python3.11"
}

find_uv() {
    if command -v uv >/dev/null 2>&1; then command -v uv; return; fi
    if [ -x .tools/bin/uv ]; then echo .tools/bin/uv; return; fi
    mkdir -p .tools
    if "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .tools uv >&2
    elif "$python" -m venv .tools/seed >/dev/null 2>&1 && [ -x .tools/seed/bin/pip ]; then
        .tools/seed/bin/pip install --quiet --disable-pip-version-check --target .tools uv >&2
    elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -qq >&2 && apt-get install -y -qq python3-pip >&2
        /usr/bin/python3 -m pip install --quiet --disable-pip-version-check --target .tools uv >&2
    else
        fail "Neither uv nor pip found. What to do: install pip (Debian: sudo apt-get install python3-pip) or uv, then make setup again"
    fi
    [ -x .tools/bin/uv ] || fail "uv could not be installed. What to do: install uv, then make setup again"
    echo .tools/bin/uv
}

case "$(uname -sm)" in
    "Linux x86_64") ;;
    *) fail "Estuaire runs on Linux x86-64 with glibc 2.28 or newer; this is $(uname -sm)." ;;
esac
python=$(find_python)
say "Python: $("$python" --version 2>&1)"
uv=$(find_uv)
[ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv
say "installing the locked packages (1.4 GB, a minute or two)"
alive "$uv" pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode requirements.lock
"$uv" pip install --quiet --python .venv/bin/python --no-deps -e .
cp requirements.lock .venv/installed.lock
say "the environment is ready"
