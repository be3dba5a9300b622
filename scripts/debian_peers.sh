#!/bin/sh
# Installs the programs of Debian that tests call, where they are missing and that is allowed.
# Where it is not, the tests that need them are skipped, and say so.
set -eu
missing=
for pair in curl:curl nghttp:nghttp2-client h2load:nghttp2-client nginx:nginx-light node:nodejs npm:npm; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0
export DEBIAN_FRONTEND=noninteractive
# RUNLEVEL: nginx would be started, and listen on port 80.
# shellcheck disable=SC2086 # several words
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || ! apt-get update -qq ||
    ! RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
    echo "not installed, and their tests are skipped:$missing; run: sudo apt-get install$missing" >&2
fi
