#!/usr/bin/env bash
# A Docker Engine for tests, on a Debian machine where none runs, and an image to build on where no registry
# can be reached. Needs root.
#
#   eval "$(docker/engine.sh start)"     starts the engine, unless one answers, and exports DOCKER_HOST
#   docker/engine.sh base                makes millrace-base:trixie (Debian 13 with its Python) on it
#   docker/engine.sh stop                stops the engine that `start` started
#
# The engine has no bridge and no firewall rules: build and run with `--network host`. MILLRACE_ENGINE names the
# folder that keeps its data.
set -euo pipefail

readonly state=${MILLRACE_ENGINE:-/var/tmp/millrace-engine} base=millrace-base:trixie
readonly own=unix://$state/docker.sock

answers() { docker --host "$1" version >/dev/null 2>&1; }

host() {
  if answers "${DOCKER_HOST:-unix:///var/run/docker.sock}"; then
    echo "${DOCKER_HOST:-unix:///var/run/docker.sock}"
  else
    echo "$own"
  fi
}

need() {
  local package missing=()
  for package in "$@"; do
    dpkg --status "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

start() {
  if ! answers "$(host)"; then
    need docker.io iptables runc
    mkdir -p "$state"
    # Limits that a sandbox may raise its processes to; the engine's own default is higher.
    setsid dockerd --host "$own" --data-root "$state/data" --exec-root "$state/exec" --pidfile "$state/docker.pid" \
      --bridge=none --iptables=false --ip6tables=false \
      --default-ulimit nofile=20000:20000 --default-ulimit nproc=90000:90000 \
      >"$state/dockerd.log" 2>&1 </dev/null &
    for _ in $(seq 60); do
      answers "$own" && break
      sleep 0.5
    done
    answers "$own" || {
      tail -n 20 "$state/dockerd.log" >&2
      echo "error: dockerd did not start; its log is $state/dockerd.log." >&2
      exit 1
    }
  fi
  echo "export DOCKER_HOST=$(host)"
}

# The mirror that this machine's apt uses.
mirror() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null |
    awk '$1 == "URIs:" { print $2; exit } $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) { print $i; exit } }'
}

base() {
  docker --host "$(host)" image inspect $base >/dev/null 2>&1 && return
  need debootstrap
  mkdir -p "$state"
  local root file
  root=$(mktemp -d "$state/base.XXXX")
  debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv trixie "$root" "$(mirror)" \
    >"$state/debootstrap.log" 2>&1 || {
    tail -n 20 "$state/debootstrap.log" >&2
    echo "error: debootstrap failed; its log is $state/debootstrap.log." >&2
    exit 1
  }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  # Package indexes are reached as from this machine: with its certificates, resolver and client settings.
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/resolv.conf /etc/hosts /etc/apt/apt.conf.d/99*; do
    [[ ! -s $file ]] || cp -L "$file" "$root$file"
  done
  tar -C "$root" -c . | docker --host "$(host)" import - $base >/dev/null
  rm -rf "$root"
}

case ${1:-} in
  start | base) "$1" ;;
  stop) [[ ! -s $state/docker.pid ]] || kill "$(cat "$state/docker.pid")" ;;
  *)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
    ;;
esac
