#!/bin/sh
# Compile runner.c for the machines that clusters are made of, with the compiler of the `ziglang` package; `make wasm`
# does so too. The results are checked in and go into the wheel: a node needs no compiler. The same source and the same
# version of the compiler give the same bytes.
set -eu
python=${PYTHON:-../../../.venv/bin/python}
case $python in */*) [ -x "$python" ] && python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
cd "$(dirname "$0")/src/skrei_plugin_kubernetes"
for machine in x86_64 aarch64; do
    "$python" -m ziglang cc -target "$machine-linux-musl" -static -std=c11 -Os -s -Wall -Wextra -Werror \
        -o "runner-$machine" runner.c
    chmod 644 "runner-$machine"
done
