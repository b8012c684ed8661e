# The shop: tells its version over HTTP. Skrei says at which port.
set -eu
mkdir -p /tmp/www
echo "$VERSION" >/tmp/www/version
exec httpd -f -p "${BACALHAU_PORT_http:-8080}" -h /tmp/www
