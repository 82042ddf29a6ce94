#!/usr/bin/env bash
# Installs what CSpace and its tests need from the system, when that is possible without asking.
# Never fails: what is missing is named in one line, and the targets that need it say so again.
set -u

missing() { # prints the Debian packages that are not there
  ldconfig -p 2>/dev/null | grep -q 'libportaudio\.so\.2' || echo libportaudio2
  command -v jackd >/dev/null || echo jackd2
  command -v jack_rec >/dev/null || echo "$jack_tools"
  command -v oscsend >/dev/null || echo liblo-tools
  [ -d /usr/lib/vst3/ZamDelay.vst3 ] || echo zam-plugins # VST3 files to test with
  "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  command -v cc >/dev/null || echo build-essential
}

if [ "$(uname -s)" != Linux ]; then
  echo "system packages: nothing is installed by itself on $(uname -s); the JACK and OSC tests need jack and liblo"
  exit 0
fi
export PATH="$PATH:/usr/sbin:/sbin" # ldconfig lives there

# Up to Debian 12 the JACK clients are part of jackd2; later they are a package of their own.
jack_tools=jackd2
apt-cache show jack-example-tools >/dev/null 2>&1 && jack_tools=jack-example-tools

list=$(missing | sort -u | tr '\n' ' ')
[ -z "$list" ] && exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
  as_root="sudo -n"
  sudo -n true 2>/dev/null || as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
  echo "system packages: please install: $list(for example: sudo apt-get install $list)"
  exit 0
fi

install() {
  # `env` because sudo does not pass the variable on; jackd2 would ask about real-time priority.
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $list </dev/null
}
echo "system packages: installing $list"
log=$(mktemp)
if ! install >"$log" 2>&1; then
  # A fresh machine has no package lists, an old one has stale ones.
  if $as_root apt-get update -q </dev/null >"$log" 2>&1; then
    apt-cache show jack-example-tools >/dev/null 2>&1 && jack_tools=jack-example-tools
    list=$(missing | sort -u | tr '\n' ' ')
    install >"$log" 2>&1
  fi
fi
still=$(missing | sort -u | tr '\n' ' ')
if [ -n "$still" ]; then
  tail -n 5 "$log"
  echo "system packages: could not install: $still(please install by hand)"
fi
rm -f "$log"
exit 0
