#!/bin/sh
# Compile C of ours to WebAssembly with the compiler of the `ziglang` package: `build.sh wordcount/wordcount` makes
# wordcount.wasm of wordcount.c beside it; `make wasm` does so for all. The results are checked in, so that running an
# example needs no compiler. The same sources and the same version of the compiler give the same bytes.
set -eu
cd "$(dirname "$0")"
root=$(cd .. && pwd)
python=${PYTHON:-.venv/bin/python}
case $python in
    /*) ;;
    */*) python=$root/$python ;;
esac
cd "$(dirname "$1")"
name=$(basename "$1" .c)
# A small stack: the compiler's default of 16 MB would count in the job's memory.
"$python" -m ziglang cc -target wasm32-wasi -std=c11 -Oz -s -Wall -Wextra -Werror \
    -Wl,-z,stack-size=65536 -o "$name.wasm" "$name.c"
# The linker marks it as a program; git keeps it as a file.
chmod 644 "$name.wasm"
