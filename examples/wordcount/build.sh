#!/bin/sh
# Compile wordcount.c to wordcount.wasm with the C compiler of the `ziglang` package; `make wasm` calls this.
# The result is checked in, so that running the example needs no compiler. The same sources and the same version of
# the compiler give the same bytes.
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
python=${PYTHON:-.venv/bin/python}
case $python in
    /*) ;;
    */*) python=$root/$python ;;
esac
# A small stack: the compiler's default of 16 MB would count in the job's memory.
"$python" -m ziglang cc -target wasm32-wasi -std=c11 -Oz -s -Wall -Wextra -Werror \
    -Wl,-z,stack-size=65536 -o wordcount.wasm wordcount.c
# The linker marks it as a program; git keeps it as a file.
chmod 644 wordcount.wasm
