#!/usr/bin/env bash
# Brings a Debian machine with Node.js and npm to the point where ./phprun and `npm test` run.
# Safe to repeat: it installs only what is missing, and is quick when nothing is.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'TEXT'
Usage: ./setup.sh [--no-system] [--no-build] [--php=X.Y] [--zts [--prefix=DIR]]

Installs what phprun needs and builds ./phprun:
  1. from Debian: PHP's embeddable library (libphpX.Y-embed), its headers and usual extensions, gcc, curl
  2. from npm:    the packages in package-lock.json, Bun among them
  3. with --zts:  a thread-safe PHP for `isolation: thread`, which Debian does not package: 8.4, or where the mirror
                  has no files of that, the PHP of this release of Debian
  4. compiles the C parts for every PHP found, and builds the executable

Options:
  --no-system   leave Debian packages alone (step 1)
  --no-build    stop before step 4
  --php=X.Y     use this PHP version instead of the distribution's default
  --zts         have a thread-safe (ZTS) PHP: fetched as Debian's source package, compiled in 5 to 10 minutes on two
                cores, kept in ~/.cache/phprun/php-<version>-zts (70 MB), and left as it is when it is there
  --prefix=DIR  keep it in DIR instead (PHPRUN_ZTS_PREFIX in the environment does the same)
  -h, --help    show this text
TEXT
}

say() { printf '==> %s\n' "$*"; }
fail() {
  printf 'setup.sh: %s\n' "$1" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

system=true build=true zts=false zts_options=() php_version=""
for argument in "$@"; do
  case $argument in
  --no-system) system=false ;;
  --no-build) build=false ;;
  --php=[0-9].[0-9]) php_version=${argument#--php=} ;;
  --zts) zts=true ;;
  --prefix=/*) zts_options+=("$argument") ;;
  --prefix=?*) zts_options+=("--prefix=$caller/${argument#--prefix=}") ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    printf 'setup.sh: Cannot use %s: see ./setup.sh --help\n' "$argument" >&2
    exit 2
    ;;
  esac
done
if ! $zts && [ ${#zts_options[@]} != 0 ]; then
  printf 'setup.sh: Cannot use %s: it says where the PHP of --zts goes, see ./setup.sh --help\n' "${zts_options[0]}" >&2
  exit 2
fi

# ---------------------------------------------------------------- 1. Debian packages

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# The version of an embeddable PHP that is already here; nothing when there is none, or more than one to choose from.
installed_php() {
  dpkg-query -W -f='${db:Status-Status} ${Package}\n' 'libphp[0-9].[0-9]-embed' 2>/dev/null |
    sed -n 's/^installed libphp\(.*\)-embed$/\1/p' | awk '{ version = $0 } END { if (NR == 1) print version }' || true
}

# What the distribution's libphp-embed depends on; nothing while apt has no package lists.
default_php() {
  apt-cache depends libphp-embed 2>/dev/null | sed -n 's/.*Depends: libphp\([0-9.]*\)-embed$/\1/p' | head -n 1 || true
}

# What it is in the releases we know, for a machine whose package lists are still empty.
known_php() {
  case $(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null) in
  bookworm) echo 8.2 ;;
  trixie) echo 8.4 ;;
  esac
}

choose_php() {
  local source
  for source in installed_php default_php known_php; do
    [ -n "$php_version" ] || php_version=$($source)
  done
}

wanted_packages() {
  printf '%s\n' "libphp$1-embed" "php$1-dev" "php$1-cli"
  printf "php$1-%s\n" opcache mbstring curl xml sqlite3 mysql apcu intl gd zip bcmath readline
  printf '%s\n' gcc libc6-dev curl
  # For tests of queries that hang. It brings no service.
  printf '%s\n' mariadb-server-core mariadb-client-core
  # For tests of worker mode with real applications: PHP libraries, no service.
  printf '%s\n' php-laravel-framework php-symfony-framework-bundle php-symfony-runtime php-symfony-validator
  printf '%s\n' php-doctrine-dbal php-doctrine-persistence php-slim php-slim-psr7 php-nyholm-psr7 php-guzzlehttp-psr7
  if $zts && ! bash ffi/zts.sh --check "${zts_options[@]}" >/dev/null; then bash ffi/zts.sh --packages; fi
}

missing_packages() {
  local package
  while read -r package; do
    installed "$package" || printf '%s\n' "$package"
  done < <(wanted_packages "$1")
}

can_be_root() { [ "$(id -u)" = 0 ] || have sudo; }

# Runs an apt-get command quietly; what it says is shown when it fails.
as_root() {
  local log
  log=$(mktemp)
  if [ "$(id -u)" = 0 ]; then
    "$@" >"$log" 2>&1 || failed_command "$log" "$@"
  else
    # shellcheck disable=SC2024 # The log is ours, not root's.
    sudo -- "$@" >"$log" 2>&1 || failed_command "$log" "$@"
  fi
  rm -f "$log"
}

failed_command() {
  local log=$1
  shift
  tail -n 20 "$log" >&2
  rm -f "$log"
  fail "Cannot go on: this failed, its last lines are above: $*"
}

install_packages() {
  have apt-get || fail "Cannot install system packages: apt-get was not found (phprun is set up on Debian 12 and 13).
Install PHP's embed library, its headers and gcc yourself, then run ./setup.sh --no-system"
  choose_php
  [ -n "$php_version" ] || fail "Cannot tell which PHP to use: the package lists have no libphp-embed. Run apt-get update, or name a version with --php=X.Y"
  local missing=()
  mapfile -t missing < <(missing_packages "$php_version")
  if [ ${#missing[@]} = 0 ]; then
    say "Debian packages: PHP $php_version and the rest are installed"
    return
  fi
  can_be_root || fail "Cannot install packages: that needs root, and there is no sudo here. Run this as root, then ./setup.sh again:
    apt-get update && apt-get install --no-install-recommends ${missing[*]}"

  say "Debian packages: reading the package lists"
  as_root apt-get update -qq
  local package wanted=()
  for package in "${missing[@]}"; do
    # Since PHP 8.5 opcache is part of PHP itself and has no package of its own.
    if [ -n "$(apt-cache madison "$package" 2>/dev/null)" ]; then
      wanted+=("$package")
    else
      case $package in
      *-embed | *-dev | gcc) fail "Cannot install $package: the package lists do not have it" ;;
      esac
      say "Debian packages: $package is not available, going on without it"
    fi
  done
  [ ${#wanted[@]} != 0 ] || return 0
  say "Debian packages: installing ${wanted[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}"
}

if $system; then
  install_packages
else
  say "Debian packages: left alone (--no-system)"
fi

# ---------------------------------------------------------------- 2. npm packages

have node || fail "Cannot go on: Node.js is missing. Install it (Debian: apt-get install nodejs npm)"
have npm || fail "Cannot go on: npm is missing. Install it (Debian: apt-get install npm)"

# True when node_modules holds exactly what package-lock.json says (npm keeps a lock file of its own in there).
node_modules_match() {
  node - <<'JS'
const fs = require("node:fs");
const read = (file) => JSON.parse(fs.readFileSync(file, "utf8"));
try {
  const lock = read("package-lock.json");
  const wanted = lock.packages;
  const found = read("node_modules/.package-lock.json").packages;
  const manifest = read("package.json");
  const same = (a, b) => JSON.stringify(a ?? {}) === JSON.stringify(b ?? {});
  const ok =
    same(manifest.dependencies, wanted[""].dependencies) &&
    same(manifest.devDependencies, wanted[""].devDependencies) &&
    Object.entries(found).every(([path, entry]) => wanted[path]?.version === entry.version) &&
    Object.entries(wanted).every(([path, entry]) =>
      path === "" || entry.optional || (found[path] !== undefined && fs.existsSync(`${path}/package.json`)));
  process.exit(ok ? 0 : 1);
} catch {
  process.exit(1);
}
JS
}

bun=node_modules/.bin/bun
bun_version=$(sed -n 's/^ *"bun": "\([0-9.]*\)",*$/\1/p' package.json | head -n 1)
bun_works() { [ "$("$bun" --version 2>/dev/null)" = "$bun_version" ]; }

if node_modules_match; then
  say "npm packages: node_modules matches package-lock.json"
else
  say "npm packages: installing what package-lock.json lists"
  # Quiet about the Node.js versions that packages ask for: Bun runs them, Node.js only installs them.
  npm ci --no-audit --no-fund --loglevel=error
fi
if ! bun_works; then
  # npm runs this itself unless install scripts are switched off: it puts Bun's binary where node_modules/.bin/bun points.
  say "npm packages: putting Bun $bun_version in place"
  node node_modules/bun/install.js
  bun_works || fail "Cannot run Bun: $bun should be version $bun_version. Remove node_modules and run ./setup.sh again"
fi

# ---------------------------------------------------------------- 3. thread-safe PHP

if $zts; then
  bash ffi/zts.sh "${zts_options[@]}" || fail "Cannot provide a thread-safe PHP, the reason is above. Without --zts everything but isolation: thread is set up"
fi

# ---------------------------------------------------------------- 4. build

if $build; then
  if $system && have "php-config$php_version"; then
    export PHP_CONFIG=${PHP_CONFIG:-php-config$php_version}
  fi
  say "Building ./phprun"
  "$bun" build.ts
  say "Ready: ./phprun serve"
else
  say "Ready (not built: --no-build)"
fi
