#!/usr/bin/env bash
# Make .venv from the pinned requirements, fetch Apache Kafka, and find a MariaDB and a Chromium for the tests. Quick when
# nothing changed, safe to repeat and to interrupt: a stamp is written last, and names the content that it stands for.
# Usage: scripts/setup.sh [venv] [kafka] [mariadb] [chromium]     PYTHON=… chooses the interpreter
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
# Two at once would mix their halves; the script itself serves as the lock.
exec 9<scripts/setup.sh
if command -v flock >/dev/null; then flock 9; fi

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
# Not sha256sum, which is missing on some machines; this only tells a changed file from an unchanged one.
fingerprint() { cat "$@" | cksum; }

# Install Debian packages if we may; fails, saying nothing, where there is no apt or no permission.
apt_install() {
  command -v apt-get >/dev/null || return 1
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || return 1
    as_root=(sudo -n)
  fi
  say "installing $* with apt-get"
  "${as_root[@]}" apt-get update -qq </dev/null >&2 || true # what is listed already may do
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" \
    </dev/null >&2
}

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

# The interpreter itself, not an environment's link to it: .venv may be about to be made anew.
base_of() { "$1" -c 'import sys; print(sys._base_executable)'; }
version_of() { "$1" -c 'import platform; print(platform.python_version())'; }

# The chosen interpreter, else that of the environment that stands, else the newest that suits.
find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    suits "$PYTHON" || die "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13"
    base_of "$PYTHON"
    return
  fi
  for candidate in .venv/bin/python python3.13 python3.12 python3.11 python3; do
    # A version manager's shim may stand on the PATH and lead nowhere, hence run it.
    if suits "$candidate"; then
      base_of "$candidate"
      return
    fi
  done
  die "rtexp needs Python 3.11, 3.12 or 3.13: install one, or name it: make setup PYTHON=/path/to/python3.12"
}

# An environment can't be moved (its scripts name their interpreter) and needs pip; one of uv's has none.
environment_stands() {
  grep -qF "$here/.venv" .venv/bin/activate 2>/dev/null &&
    .venv/bin/python -m pip --version >/dev/null 2>&1 &&
    [ "$(version_of .venv/bin/python)" = "$(version_of "$1")" ]
}

make_environment() {
  local python=$1 package
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    apt_install "$package" || die "this Python can't make environments: install $package, then run make setup again"
  fi
  say "making .venv with Python $(version_of "$python")"
  "$python" -m venv --clear .venv
}

setup_venv() {
  local python want stamp=.venv/setup.stamp
  python=$(find_python)
  want="$here $(version_of "$python") $(fingerprint requirements/build.txt requirements/dev.txt pyproject.toml)"
  [ -x .venv/bin/rtexp ] && [ "$(cat $stamp 2>/dev/null)" = "$want" ] && return
  environment_stands "$python" || make_environment "$python"
  rm -f $stamp
  local install=(.venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check)
  say "installing the pinned requirements"
  "${install[@]}" --require-hashes -r requirements/build.txt
  # Without isolation a package that has no wheel here is built with the pinned tools. Python compiles what it
  # imports; compiling all of it beforehand takes a third of the time.
  "${install[@]}" --no-compile --require-hashes --no-build-isolation -r requirements/dev.txt
  "${install[@]}" --no-deps --no-build-isolation --editable .
  .venv/bin/rtexp --version >/dev/null || die "the environment is made, but .venv/bin/rtexp doesn't run"
  printf '%s\n' "$want" >$stamp
}

# Kafka 4 runs on Java 17 or newer.
java_suits() {
  local java=${JAVA_HOME:+$JAVA_HOME/bin/}java version
  [ -x "$java" ] || java=java # as the broker looks for it
  version=$("$java" -version 2>&1 | sed -nE '1s/.*version "([0-9]+).*/\1/p') || return 1
  [ -n "$version" ] && [ "$version" -ge 17 ]
}

setup_kafka() {
  local want stamp=kafka/libs/setup.stamp
  java_suits || apt_install openjdk-17-jre-headless || apt_install default-jre-headless ||
    die "the local broker needs Java 17 or newer: install it (Debian: openjdk-17-jre-headless), then run make setup again"
  java_suits || die "the local broker needs Java 17 or newer, and the java found is older: set JAVA_HOME"
  want=$(fingerprint kafka/pom.xml)
  [ "$(cat $stamp 2>/dev/null)" = "$want" ] && return
  command -v mvn >/dev/null || apt_install maven ||
    die "Apache Kafka comes through Maven: install it (Debian: maven), then run make setup again"
  say "fetching Apache Kafka with Maven"
  # From nothing: Maven keeps what it finds, also a jar that an interrupted run has cut short.
  rm -rf kafka/libs
  mvn -B -q -f kafka/pom.xml dependency:copy-dependencies </dev/null >&2
  compgen -G 'kafka/libs/kafka-clients-*.jar' >/dev/null || die "Maven ended without kafka/libs/kafka-clients-*.jar"
  printf '%s\n' "$want" >$stamp
}

# The tests start a server of their own. Only programs are installed for it (Debian's package of the service is
# another one), so nothing starts here or listens on MySQL's port; and nothing is removed: where a MySQL server is
# installed, Debian allows no second one, and then this fails instead.
setup_mariadb() {
  [ -n "${RTEXP_TEST_SQL:-}" ] && return # a server to test on was named
  local PATH=$PATH:/usr/sbin:/usr/local/sbin
  have_mariadb() { command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null &&
    command -v my_print_defaults >/dev/null; }
  have_mariadb || apt_install --no-remove mariadb-server-core mariadb-client-core || true
  have_mariadb || die "the tests need the programs of MariaDB 10.6 or newer: install them (Debian: mariadb-server-core \
and mariadb-client-core), or name a server to test on: RTEXP_TEST_SQL=mysql+pymysql://root:…@127.0.0.1:3306"
}

# The tests open the pages in it. Playwright would fetch a browser of its own from elsewhere; any Chromium does.
setup_chromium() {
  have_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
    command -v google-chrome >/dev/null; }
  have_chromium || apt_install --no-remove chromium || true
  have_chromium || die "the tests open the pages in Chromium: install it (Debian: chromium)"
}

[ $# -gt 0 ] || set -- venv kafka
for part in "$@"; do
  case $part in
    venv | kafka | mariadb | chromium) "setup_$part" ;;
    *) die "no such part: $part (venv, kafka, mariadb, chromium)" ;;
  esac
done
