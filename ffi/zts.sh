#!/usr/bin/env bash
# Builds a thread-safe (ZTS) PHP with its embeddable library, for machines whose distribution has none.
# Debian's own PHP source, verified (debian-source.sh), compiled into a folder of its own; nothing else is touched.
#   ffi/zts.sh [--prefix=DIR]            builds it, unless it is there
#   ffi/zts.sh --check [--prefix=DIR]    prints the folder of the one that is there; fails when there is none
#   ffi/zts.sh --packages                prints the Debian packages that building it needs
# Safe to repeat, to interrupt, and to run twice at once.
set -euo pipefail
caller=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export LC_ALL=C
# These would change what is built, or what it says of itself.
unset MAKEFLAGS EXTENSION_DIR PHPRC PHP_INI_SCAN_DIR

# A release of Debian and its PHP. From 8.3 on PHP ends deep recursion of a thread by itself, and from 8.4 on it tells when
# opcache wants to restart: that is the best there is for threads.
best="trixie php8.4"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/phprun
remembered=$here/../build/zts-prefix

# A mirror need not have the files of each release, so there is a second choice, the PHP of this machine's own.
sources_in_order() {
  printf '%s\n' "$best"
  case $(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null) in
  bookworm) echo "bookworm php8.2" ;;
  esac
}

# Line numbers in backtraces are worth what -g1 costs: no time, a few megabytes on disk, nothing in memory.
cflags="-O2 -g1"
options=(
  --enable-embed=shared --enable-zts --enable-opcache
  # These handlers are for a PHP that is alone in its process; phprun handles signals itself.
  --disable-zend-signals
  --disable-cgi --disable-phpdbg
  --enable-mbstring --enable-intl --enable-bcmath --enable-exif --enable-gd --with-freetype --with-jpeg --with-webp
  --enable-pcntl --enable-shmop --enable-sockets --enable-sysvmsg --enable-sysvsem --enable-sysvshm
  --enable-calendar --enable-ftp --enable-soap
  --enable-mysqlnd --with-mysqli=mysqlnd --with-pdo-mysql=mysqlnd --with-pgsql --with-pdo-pgsql
  --with-sqlite3 --with-pdo-sqlite
  --with-curl --with-openssl --with-zlib --with-zip --with-sodium --with-gettext --with-xsl --with-readline
  --with-gmp --with-ffi
)
# What PHP of one version needs besides. 8.2 has a timer for each thread only when asked (from 8.3 on always): without,
# max_execution_time is one for the process.
options_of() {
  case $1 in
  8.2.*) echo --enable-zend-max-execution-timers ;;
  esac
}
packages=(
  gcc g++ libc6-dev make pkg-config xz-utils debian-archive-keyring
  autoconf # for APCu
  libxml2-dev libsqlite3-dev libssl-dev libcurl4-openssl-dev libonig-dev libpng-dev libjpeg62-turbo-dev libwebp-dev
  libfreetype-dev libicu-dev libzip-dev zlib1g-dev libsodium-dev libgmp-dev libxslt1-dev libreadline-dev libffi-dev
  libpq-dev
)

# debian-source.sh's word for: the mirror does not have it.
not_there=3

# Written last, so a build that has one is whole; and it fits only what this script would build.
stamp=phprun-zts.stamp
recipe_of() {
  local own
  own=$(options_of "$1")
  printf 'recipe: %s\n' "$cflags ${options[*]}${own:+ $own}"
}

say() { printf '==> %s\n' "$*"; }
fail() {
  printf 'zts.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

main() {
  local found
  read_arguments "$@"
  found=$(find_complete)
  if $check; then
    [ -n "$found" ] || exit 1
    printf '%s\n' "$found"
  elif [ -n "$found" ]; then
    report_complete "$found"
  else
    check_packages
    [ -z "$prefix" ] || check_target "$prefix"
    fetch_source
    take_target
    build_php
  fi
  # Here and not after the call: this file may be another one by now.
  exit 0
}

check=false prefix=${PHPRUN_ZTS_PREFIX:-}

read_arguments() {
  local argument
  for argument in "$@"; do
    case $argument in
    --prefix=?*) prefix=${argument#--prefix=} ;;
    --check) check=true ;;
    --packages)
      printf '%s\n' "${packages[@]}"
      exit 0
      ;;
    *) fail "Cannot use $argument: the options are --prefix=DIR, --check, --packages" 2 ;;
    esac
  done
  case $prefix in
  '' | /*) ;;
  *) prefix=${caller%/}/$prefix ;;
  esac
  prefix=${prefix%/}
  check_path "$prefix"
}

# PHP's build splits paths at spaces and writes them into C sources.
check_path() {
  case $1 in
  *[!A-Za-z0-9_./+@~-]*)
    fail "Cannot use '$1' as a prefix: the path may have only letters, digits and _ . / + @ ~ -. Choose another with --prefix=DIR" 2
    ;;
  esac
}

# ---------------------------------------------------------------- is it there already?

stamped_version() { sed -n 's/^version: //p' "$1/$stamp" 2>/dev/null; }

complete() {
  [ -f "$1/lib/libphp.so" ] && grep -qxF -- "$(recipe_of "$(stamped_version "$1")")" "$1/$stamp" 2>/dev/null &&
    # It runs, so the libraries it was linked with are still here (another Debian release has others).
    [ "$("$1/bin/php" -n -r 'echo PHP_ZTS;' 2>/dev/null)" = 1 ]
}

# Where one may be: the chosen folder; or else the one that was chosen before, and those in the cache, newest first.
candidates() {
  if [ -n "$prefix" ]; then
    printf '%s\n' "$prefix"
  else
    cat "$remembered" 2>/dev/null || true
    printf '%s\n' "$cache"/php-*-zts | sort -rV
  fi
}

find_complete() {
  local folder
  while read -r folder; do
    if complete "$folder"; then
      printf '%s\n' "$folder"
      return
    fi
  done < <(candidates)
}

report_complete() {
  say "Thread-safe PHP: $(stamped_version "$1") is in $1 (remove that folder to have it built anew)"
  remember "$1"
}

# ffi/compile.ts looks into the cache by itself; of a folder elsewhere it has to be told.
remember() {
  case $1 in
  "$cache"/php-*-zts) ;;
  *)
    mkdir -p "$(dirname "$remembered")"
    printf '%s\n' "$1" >"$remembered"
    ;;
  esac
  say "To serve with it, set php.libphp: $1/lib/libphp.so"
}

# ---------------------------------------------------------------- before the build

check_packages() {
  local package missing=()
  if command -v dpkg-query >/dev/null; then
    for package in "${packages[@]}"; do
      [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
  fi
  [ ${#missing[@]} = 0 ] || fail "Cannot build PHP: packages are missing. Run this as root, then ./setup.sh --zts again:
    apt-get update && apt-get install --no-install-recommends ${missing[*]}"
}

# The first of the sources that the mirror has. What it has and apt does not accept ends this: that is for a person.
fetch_source() {
  local line="" lacking="" status
  sources=$(mktemp -d)
  trap 'rm -rf "$sources"' EXIT
  trap stop INT TERM HUP
  while read -r suite source_package; do
    [ -z "$lacking" ] ||
      say "Thread-safe PHP: the source of $lacking is not to be had, see above; taking $source_package ($suite) instead"
    say "Thread-safe PHP: fetching the source of $source_package ($suite) through this machine's Debian mirror"
    status=0
    line=$(bash "$here/debian-source.sh" "$sources" "$suite" "$source_package" </dev/null) || status=$?
    case $status in
    0) break ;;
    "$not_there") lacking="$source_package ($suite)" ;;
    *) fail "Cannot build PHP: its source could not be fetched, see above" ;;
    esac
  done < <(sources_in_order)
  [ "$status" = 0 ] || fail "Cannot build PHP: its source is not to be had, see above"
  read -r _ package_version tarball <<<"$line"
  version=${package_version%%[-+~]*} # 8.4.24-1~deb13u1 is upstream's 8.4.24
}

check_target() {
  mkdir -p "$1" 2>/dev/null || true
  [ -w "$1" ] ||
    fail "Cannot build PHP in $1: it must be a folder that the user $(id -un) can write to. Choose another with --prefix=DIR"
  [ -f "$1/$stamp" ] || [ -z "$(ls -A "$1")" ] ||
    fail "Cannot build PHP in $1: it must be empty or a build of this script, received a folder with other files"
}

# The paths are compiled in, so a build cannot be made elsewhere and renamed. Two runs take turns instead.
take_target() {
  local free_mb
  target=${prefix:-$cache/php-$version-zts}
  check_path "$target"
  check_target "$target"
  exec 9<"$target"
  if ! flock -n 9; then
    say "Thread-safe PHP: another run is building it, waiting for that"
    until flock -n 9; do sleep 1; done # so that it can be interrupted meanwhile
  fi
  if complete "$target"; then
    report_complete "$target"
    exit 0
  fi
  printf 'unfinished\n' >"$target/$stamp"
  build=$target/build
  log=$build/log
  rm -rf "$build"
  mkdir "$build"
  free_mb=$(($(df -Pk "$build" | awk 'NR == 2 { print $4 }') / 1024))
  [ "$free_mb" -ge 500 ] || fail "Cannot build PHP in $target: at least 500 MB must be free there, received $free_mb MB"
}

# ---------------------------------------------------------------- steps of the build, and how they are shown

running=""
stop() {
  trap - INT TERM HUP
  if [ -n "$running" ]; then
    kill -TERM -- "-$running" 2>/dev/null || true
    wait "$running" || true
    rm -rf "$build"
  fi
  fail "interrupted" 130
}

failed() {
  tail -n 25 "$log" >&2
  fail "Cannot build PHP $version: $1 failed; its last lines are above, the whole log is $log"
}

# Runs a step whose output goes to the log, and shows meanwhile what `show` has to say.
run() {
  local show=$1 status=0
  shift
  # In a process group of its own, so that stop() can end a whole make.
  set -m
  "$@" >>"$log" 2>&1 </dev/null &
  running=$!
  set +m
  while kill -0 "$running" 2>/dev/null; do
    $show
    sleep 1
  done
  wait "$running" || status=$?
  running=""
  return $status
}

# A line that is written over on a terminal; elsewhere one every half minute, for a log.
progress() {
  if [ -t 1 ]; then
    printf '\r==> %s\033[K' "$1"
  elif [ $((SECONDS - shown)) -ge 30 ]; then
    shown=$SECONDS
    say "$1"
  fi
}
shown=0

compile_progress() {
  local compiled seconds=$((SECONDS - compile_start)) left=""
  compiled=$(grep -c -- '--mode=compile' "$log" || true)
  # The first seconds tell nothing yet.
  if [ "$seconds" -ge 10 ] && [ "$compiled" -gt 0 ]; then
    left=", $(minutes $((seconds * (all_files - compiled) / compiled))) left"
  fi
  progress "Thread-safe PHP: compiled $compiled of $all_files files$left"
}

minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# ---------------------------------------------------------------- the build

build_php() {
  local start=$SECONDS tree=$build/php modules own=()
  read -ra own <<<"$(options_of "$version")"
  say "Thread-safe PHP: building $version in $target, $(nproc) files at a time (5 to 10 minutes with two)"
  mkdir "$tree"
  tar -xf "$tarball" -C "$tree" --strip-components=1 >>"$log" 2>&1 || failed "unpacking the source"
  cd "$tree"
  say "Thread-safe PHP: configuring"
  run : env CFLAGS="$cflags" CXXFLAGS="$cflags" ./configure "--prefix=$target" \
    "--with-config-file-path=$target/etc" "--with-config-file-scan-dir=$target/etc/conf.d" "${options[@]}" "${own[@]}" ||
    failed configure

  # PHP compiles every file twice: for libphp.so, and not position-independent for bin/php. Once will do, bin/php can
  # have the library's objects. Should a later PHP word these files differently, it costs time and nothing else.
  sed -i 's/^build_old_libs=yes/build_old_libs=no/' libtool
  sed -i '/^BUILD_CLI = /s/:\.lo=\.o)/)/g' Makefile

  all_files=$(make -n 2>/dev/null | grep -c -- '--mode=compile' || true)
  compile_start=$SECONDS
  run compile_progress make -j"$(nproc)" || failed make
  [ ! -t 1 ] || printf '\r\033[K'
  run : make install || failed "make install"
  mkdir -p "$target/etc/conf.d"
  # What upstream recommends, and what Debian's own PHP has.
  [ -e "$target/etc/php.ini" ] || cp php.ini-production "$target/etc/php.ini"
  printf 'zend_extension=opcache\n' >"$target/etc/conf.d/opcache.ini"
  run : add_apcu || {
    tail -n 5 "$log" >&2
    say "Thread-safe PHP: APCu could not be added (the last lines of that are above), going on without it"
  }

  modules=$("$target/bin/php" -m 2>>"$log" || true)
  grep -qx 'Zend OPcache' <<<"$modules" || failed "starting it with opcache"
  cd "$target"
  rm -rf "$build"
  printf 'version: %s\nsource: %s %s (%s)\n%s\n' "$version" "$source_package" "$package_version" "$suite" \
    "$(recipe_of "$version")" >"$stamp.new"
  mv "$stamp.new" "$stamp"
  say "Thread-safe PHP: $version is in $target, built in $(minutes $((SECONDS - start)))"
  remember "$target"
}

# APCu is not a part of PHP. Good to have, and not worth a failure.
add_apcu() {
  local line apcu folder tree=$build/apcu
  line=$(bash "$here/debian-source.sh" "$sources" "$suite" php-apcu) || return
  read -r _ _ apcu <<<"$line"
  mkdir "$tree" && tar -xf "$apcu" -C "$tree" || return
  # There may be one for older PHPs beside it (5.1.22+4.0.11).
  folder=$(printf '%s\n' "$tree"/[Aa][Pp][Cc][Uu]-*/ | sort -V | tail -n 1)
  cd "$folder" || return
  "$target/bin/phpize" && ./configure "--with-php-config=$target/bin/php-config" CFLAGS="$cflags" || return
  make -j"$(nproc)" && make install || return
  printf 'extension=apcu\n' >"$target/etc/conf.d/apcu.ini"
}

main "$@"
