#!/usr/bin/env bash
# Downloads the newest sources of Debian packages through this machine's own mirror, verified:
#   debian-source.sh DIR SUITE PACKAGE...      e.g. debian-source.sh /tmp/sources trixie php8.4 php-apcu
# Prints one line for each, `PACKAGE VERSION TARBALL` (upstream's); what it does goes to standard error.
# Fails with 3 when the mirror does not have it, so that another release may do; else with 1.
#
# apt does the verifying: the index of the suite has Debian's signature and the hash of the list of sources, and that
# list has the hash of every file. apt is told to take nothing else, whatever the machine's configuration says. Only
# upstream's tarball is fetched: what Debian adds is packaging, its security updates of PHP are new upstream versions.
# Its lists, cache and hooks are a private set in a temporary folder, so the system's own are not touched and an
# ordinary user can do this too.
set -euo pipefail

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
export LC_ALL=C # apt's messages are looked at below

say() { printf '==> %s\n' "$*" >&2; }
fail() {
  printf 'Cannot fetch the source of %s: %s\n' "${packages[*]}" "$1" >&2
  exit "${2:-1}"
}
not_there() { fail "$1" 3; }

[ $# -ge 3 ] || {
  echo "Usage: debian-source.sh DIR SUITE PACKAGE..." >&2
  exit 2
}
dir=$1 suite=$2 packages=("${@:3}")
command -v apt-get >/dev/null || fail "apt-get was not found (this works on Debian and its relatives)"
[ -r "$keyring" ] || fail "$keyring is missing, which holds Debian's keys. Install it: apt-get install debian-archive-keyring"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # as root, apt downloads as the user _apt
log=$work/log

# ---------------------------------------------------------------- this machine's mirrors

# Prints `URI SUITE` for every package source of this machine, from both forms of its files.
machine_sources() {
  local list="" parts="" file
  eval "$(apt-config shell list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d)"
  for file in "$list" "$parts"/*.list "$parts"/*.sources; do
    [ -f "$file" ] || continue
    case $file in
    *.sources) paragraphs "$file" ;;
    *) one_line "$file" ;;
    esac
  done
}

# deb [options] URI SUITE COMPONENT...
one_line() {
  awk '/^[ \t]*deb(-src)?[ \t]/ { sub(/#.*/, ""); sub(/\[[^]]*\]/, ""); print $2, $3 }' "$1"
}

# Fields such as `URIs:` in paragraphs; a value may go on in lines that begin with a space.
paragraphs() {
  awk '
    function flush(  i, j, m, n, uri, of) {
      m = split(value["uris"], uri); n = split(value["suites"], of)
      if (value["enabled"] !~ /no|false/) for (i = 1; i <= m; i++) for (j = 1; j <= n; j++) print uri[i], of[j]
      split("", value); field = ""
    }
    /^#/ { next }
    /^[ \t]*$/ { flush(); next }
    /^[^ \t]/ { field = tolower(substr($0, 1, index($0, ":") - 1)); sub(/^[^:]*:/, "") }
    { value[field] = value[field] " " $0 }
    END { flush() }' "$1"
}

# The mirrors that may have the suite: those that look like Debian's before others.
main_mirrors() {
  local sources
  sources=$(machine_sources | awk '$1 !~ /^cdrom:/ && $1 !~ /security/ && $2 !~ /security/ { print $1 }')
  { grep -E '/debian/?$' <<<"$sources" || true; grep -vE '/debian/?$' <<<"$sources" || true; } | awk 'NF && !seen[$0]++'
}

security_mirror() { machine_sources | awk '$2 ~ /-security$/ && !found++ { print $1 }'; }

# ---------------------------------------------------------------- apt with a private state

prepare_apt() {
  mkdir -p "$work/none" "$work/cache/archives/partial"
  # The machine's way to the network (proxies, timeouts) stays; its hooks and its own lists do not.
  apt-config dump | grep '^Acquire::' >"$work/acquire.conf" || true
  cat "$work/acquire.conf" - >"$work/apt.conf" <<TEXT
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "$work/none";
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "$work/none";
Dir::State::Lists "$work/lists";
Dir::Cache "$work/cache";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
TEXT
  export APT_CONFIG=$work/apt.conf
}

# Reads the signed indexes of `URI SUITE`...; false when one of them cannot be had or is not accepted.
update() {
  rm -rf "$work/lists"
  mkdir -p "$work/lists/partial"
  printf "deb-src [signed-by=$keyring] %s main\n" "$@" >"$work/sources.list"
  apt-get update -q >"$log" 2>&1
}

# True when apt's last words are not about the network, but about what it got.
refused() { grep -qiE 'hash sum mismatch|unexpected size|not signed|signature|GPG error|NO_PUBKEY|BADSIG|EXPKEYSIG' "$log"; }

apt_said() { grep -E '^(E|W|Err):' "$log" | grep -v unsandboxed | head -n 4 || true; }

read_indexes() {
  local mirror security mirrors=()
  mapfile -t mirrors < <(main_mirrors)
  security=$(security_mirror)
  if [ ${#mirrors[@]} = 0 ]; then
    mirrors=(http://deb.debian.org/debian)
    say "Sources: no Debian mirror is configured here, using ${mirrors[0]}"
  fi
  prepare_apt
  for mirror in "${mirrors[@]}"; do
    if [ -n "$security" ] && update "$mirror $suite" "$security $suite-security"; then return; fi
    update "$mirror $suite" || continue
    if [ -n "$security" ]; then say "Sources: $suite-security cannot be read from $security, going on with $suite alone"; fi
    return
  done
  apt_said >&2
  ! refused || fail "apt does not accept the index of $suite from ${mirrors[*]}: it is not what Debian signed"
  not_there "the index of $suite cannot be read from ${mirrors[*]}"
}

# ---------------------------------------------------------------- the packages

download() {
  local package=$1 version versions=() folder=$dir/$1
  mapfile -t versions < <(apt-cache madison "$package" | awk -F ' *[|] *' '/Sources$/ { print $2 }' | sort -ruV)
  [ ${#versions[@]} != 0 ] || not_there "$suite has no source package $package"
  for version in "${versions[@]}"; do
    rm -rf "$folder"
    mkdir -p "$folder"
    if (cd "$folder" && apt-get source -q --download-only --tar-only --only-source "$package=$version") >"$log" 2>&1; then
      printf '%s %s %s\n' "$package" "$version" "$(find "$folder" -name '*.orig.tar.*' ! -name '*.asc' | head -n 1)"
      return
    fi
    rm -rf "$folder"
    if refused; then
      apt_said >&2
      fail "apt does not accept the files of $package $version: they are not what the signed index says"
    fi
    if [ "$version" != "${versions[-1]}" ]; then
      say "Sources: the mirror lists $package $version and does not have its files, taking the version before"
    fi
  done
  apt_said >&2
  not_there "the mirror does not have the files of $package $version"
}

read_indexes
for package in "${packages[@]}"; do download "$package"; done
