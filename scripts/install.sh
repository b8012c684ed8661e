#!/bin/sh
# Installs the command `skrei` for the user who runs this. Needs no sudo, asks nothing, says what it put where.
#
#   sh install.sh                  from the wheels beside this file, else from the package index
#   SKREI_WHEELS=folder-or-url     take Skrei's own wheels from there
#   SKREI_VERSION=0.5.0            this version instead of the newest
#   SKREI_EXTRAS=                  only the client, without `skrei serve`
#   SKREI_PLUGINS="folder wheel"   plugins of others into the same environment; name them again with each install
#
# uv does the work: the one on PATH, else a pinned version of it, fetched with Python's standard library from the index
# that pip's settings name, its digest checked, kept in a folder of Skrei's own.
set -eu

OLDEST_UV=7  # 0.7, the oldest that this was tried with
DATA="${XDG_DATA_HOME:-$HOME/.local/share}/skrei"

main() {
    here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
    wheels=${SKREI_WHEELS:-}
    if [ -z "$wheels" ] && ls "$here"/skrei-*.whl >/dev/null 2>&1; then wheels=$here; fi
    python=$(find_python)
    if [ -n "$python" ]; then learn_pip_settings; fi
    find_uv
    # Compiled now: else the first start does it, and where a cache cannot be written each one.
    set -- --quiet --force --compile-bytecode --python '>=3.11'
    if [ -n "$wheels" ]; then
        set -- "$@" --find-links "$wheels"
        if [ -f "$wheels/constraints.txt" ]; then set -- "$@" --constraints "$wheels/constraints.txt"; fi
        # Wheels that were built again under the same version are taken, too.
        for wheel in "$wheels"/skrei*.whl; do
            name=${wheel##*/}
            if [ -f "$wheel" ]; then set -- "$@" --reinstall-package "${name%%-*}"; fi
        done
    fi
    for plugin in ${SKREI_PLUGINS:-}; do set -- "$@" --with "$plugin"; done
    extras=${SKREI_EXTRAS-serve}
    wanted="skrei${extras:+[$extras]}${SKREI_VERSION:+==$SKREI_VERSION}"
    echo "Installing $wanted ..."
    if ! "$uv" tool install "$@" "$wanted"; then
        fail "uv could not install $wanted; its message stands above." \
            "Behind a mirror or a proxy set PIP_INDEX_URL, HTTPS_PROXY or PIP_CERT; SKREI_WHEELS names a folder of wheels, \
SKREI_PLUGINS folders or wheels of plugins."
    fi
    bin=$("$uv" tool dir --bin)
    told=$("$bin/skrei" version | head -n 1) || fail "$bin/skrei does not start." "Run it and read what it says."
    report "$bin" "${told##* }"
}

report() {
    echo
    echo "Installed skrei $2:"
    echo "  command    $1/skrei"
    echo "  packages   $("$uv" tool dir)/skrei"
    undo="uv tool uninstall skrei"
    if [ -n "$fetched" ]; then
        echo "  uv         $uv (fetched for this; nothing else uses it)"
        undo="$uv tool uninstall skrei && rm -r $DATA"
    fi
    echo "Undo it with: $undo"
    echo "Data of \`skrei serve\` lies apart: ~/.skrei, or /var/lib/skrei for root."
    echo
    case ":$PATH:" in
        *":$1:"*) ;;
        *) echo "$1 is not on your PATH. Add it:  export PATH=\"$1:\$PATH\"" ;;
    esac
    echo "Try: skrei demo"
}

find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
}

# What this user told pip about mirrors, proxies and certificates holds for uv too, below what uv itself was told.
learn_pip_settings() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    write_fetcher "$work"
    words=$("$python" -P -c '
import os, shlex, sys
sys.path.insert(0, sys.argv[1])
from scripts import pip_settings
for name, value in pip_settings.read().uv_environment().items():
    if name not in os.environ:
        print(f"export {name}={shlex.quote(value)}")
' "$work")
    eval "$words"
}

find_uv() {
    fetched=
    for candidate in uv "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv"; do
        minor=$("$candidate" --version 2>/dev/null | sed -n 's/^uv 0\.\([0-9]*\).*/\1/p') || true
        if [ -n "$minor" ] && [ "$minor" -ge "$OLDEST_UV" ]; then
            uv=$(command -v "$candidate")
            return
        fi
    done
    if [ -z "$python" ]; then
        fail "Neither uv nor Python 3.11 or newer was found." "Install one of them, then run this again."
    fi
    uv=$("$python" -P -c '
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from scripts import fetch_uv, pip_settings
try:
    print(fetch_uv.fetch(pip_settings.read(), pathlib.Path(sys.argv[2])))
except fetch_uv.FetchError as error:
    sys.exit(str(error))
' "$work" "$DATA") || exit 1
    fetched=yes
    # Python has just trusted the system certificates; the built-in list of uv may know fewer.
    UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}
    export UV_SYSTEM_CERTS
}

fail() {
    echo "$1" >&2
    echo "$2" >&2
    exit 1
}

write_fetcher() {
mkdir -p "$1/scripts"
# @fetcher@
}

main "$@"
