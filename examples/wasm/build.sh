#!/bin/sh
# Compile hello.c to hello.wasm, as ../wordcount/build.sh does for its own; `make wasm` calls both.
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
python=${PYTHON:-.venv/bin/python}
case $python in
    /*) ;;
    */*) python=$root/$python ;;
esac
"$python" -m ziglang cc -target wasm32-wasi -std=c11 -Oz -s -Wall -Wextra -Werror \
    -Wl,-z,stack-size=65536 -o hello.wasm hello.c
chmod 644 hello.wasm
