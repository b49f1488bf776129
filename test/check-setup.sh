#!/usr/bin/env bash
# Runs before the tests: says what is missing, instead of letting a hundred tests fail for the same reason.
#   check-setup.sh           before the build
#   check-setup.sh --built   after it: says which tests are going to be skipped for want of a thread-safe PHP
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = --built ]; then
  # The build makes a shim for every PHP it finds.
  compgen -G 'build/lib/libphprun-php-*-zts.so' >/dev/null ||
    echo 'skipped: thread isolation, no ZTS libphp (run ./setup.sh --zts)'
  exit 0
fi

missing=()
node_modules/.bin/bun --version >/dev/null 2>&1 || missing+=("Bun (node_modules/.bin/bun)")
for command in gcc php-config php curl; do
  command -v "$command" >/dev/null || missing+=("$command")
done
version=$(php-config --version 2>/dev/null | cut -d. -f1,2 || true)
if [ -n "$version" ] && [ -z "${PHPRUN_PHP__LIBPHP:-}" ]; then
  compgen -G "/usr/lib/libphp$version.so" >/dev/null || compgen -G "/usr/lib/*/libphp$version.so" >/dev/null ||
    compgen -G "$(php-config --prefix)/lib/libphp*.so" >/dev/null || missing+=("libphp$version.so")
fi

if [ ${#missing[@]} != 0 ]; then
  printf 'Cannot run the tests, this is missing: %s\n' "$(printf '%s, ' "${missing[@]}" | sed 's/, $//')" >&2
  printf 'Run ./setup.sh first.\n' >&2
  exit 1
fi
