# The shop's tests: whatever ends with 0 passes.
set -eu
sh serve.sh &
for _ in 1 2 3 4 5 6 7 8 9 10; do
    if told=$(wget -q -O - http://127.0.0.1:8080/version 2>/dev/null); then break; fi
    sleep 1
done
if [ "$told" != "$VERSION" ]; then
    echo "FAILED: the shop says it is '$told', not '$VERSION'" >&2
    exit 3
fi
echo "ok: the shop says it is $told"
