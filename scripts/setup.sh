#!/usr/bin/env bash
# Makes .venv ready: picks the dependency line and a Python that fit this machine, says which and why, and
# installs Millrace with what its developers need. Run again, it installs nothing until something changed.
#
#   make setup
#   PYTHON=/opt/python3.11/bin/python3.11 make setup     # takes this Python
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE # TensorFlow imports in 3 s with compiled bytecode, in 10 s without

readonly venv=.venv stamp=.venv/millrace-setup
readonly oldest_glibc=2.31 current_glibc=2.39
python=""

fail() {
  printf 'error: %s\n' "$@" >&2
  exit 1
}

# at_least VERSION BOUND
at_least() { [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]; }

pick_line() {
  local system
  system="$(uname -s) on $(uname -m)"
  if [[ $system != "Linux on x86_64" ]]; then
    fail "TFDV, TFT and ML Metadata have no wheels for $system, only for Linux on x86_64." \
      "Use a Linux machine, a virtual machine or a container of Debian 12 or later."
  fi
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc //p') || true
  if [[ -z $glibc ]]; then
    fail "This system's C library is not glibc (Alpine's is musl), and TensorFlow has no wheels for it." \
      "Use a distribution with glibc $oldest_glibc or later, such as Debian 12."
  fi
  at_least "$glibc" $oldest_glibc ||
    fail "glibc $glibc is too old: $oldest_glibc or later is needed, as in Debian 12 or Ubuntu 22.04."
  if at_least "$glibc" $current_glibc; then
    line=current why="glibc $glibc is $current_glibc or later"
    versions=(3.13 3.12 3.11 3.10)
  else
    line=classic why="glibc $glibc is older than $current_glibc, which newer releases of TFDV and TFT need"
    versions=(3.11 3.10)
  fi
}

# version_of PYTHON: prints such as 3.11 if it runs and is CPython. A pyenv shim may be there and not run.
version_of() {
  "$1" -c 'import sys; assert sys.implementation.name == "cpython"; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

fits() {
  local found
  found=$(version_of "$1") && [[ " ${versions[*]} " == *" $found "* ]]
}

has_headers() {
  "$1" -c 'import os, sysconfig; assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null
}

pick_python() {
  if [[ -n ${PYTHON:-} ]]; then
    fits "$PYTHON" ||
      fail "PYTHON=$PYTHON does not fit the $line line ($why): it is $(version_of "$PYTHON" || echo 'no CPython that runs')." \
        "It takes Python ${versions[*]}."
    python=$PYTHON
    return
  fi
  if fits $venv/bin/python; then
    python=$PWD/$venv/bin/python
    return
  fi
  local version candidate
  for version in "${versions[@]}"; do
    for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python python3; do
      [[ $(version_of "$candidate") == "$version" ]] || continue
      has_headers "$python" || python=$("$candidate" -c 'import sys; print(sys.executable)')
    done
    [[ -z $python ]] || return 0
  done
  fail "No Python fits the $line dependency line ($why): it takes ${versions[*]}." \
    "Looked for python${versions[0]} and the like on PATH and among pyenv's. Install one, for example with" \
    "  apt-get install python${versions[0]} python${versions[0]}-venv python${versions[0]}-dev     or     pyenv install ${versions[0]}" \
    "or name one: PYTHON=/path/to/python make setup"
}

# pyfarmhash, which TFDV needs, has no wheels.
check_compiler() {
  command -v g++ >/dev/null ||
    fail "g++ is missing, and TFDV's pyfarmhash is built from source. Install it: apt-get install g++"
  has_headers "$python" ||
    fail "The headers of $python are missing, and TFDV's pyfarmhash is built from source." \
      "Install them: apt-get install python$(version_of "$python")-dev"
}

make_venv() {
  if [[ $(version_of $venv/bin/python) != "$(version_of "$python")" ]]; then
    rm -rf $venv
  fi
  if uv --version >/dev/null 2>&1; then
    uv=uv
    [[ -e $venv ]] || uv venv --quiet --python "$python" $venv
    return
  fi
  [[ -e $venv ]] || "$python" -m venv $venv || {
    rm -rf $venv
    fail "$python cannot make a virtual environment." "Install what it lacks: apt-get install python$(version_of "$python")-venv"
  }
  uv=$venv/bin/uv
  $uv --version >/dev/null 2>&1 ||
    $venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint "constraints/$line.txt" uv
}

install() {
  local arguments=(--python "$venv/bin/python" --compile-bytecode --constraint "constraints/$line.txt")
  arguments+=(--build-constraint "constraints/$line.txt")
  [[ ! -e constraints/$line.override ]] || arguments+=(--override "constraints/$line.override")
  echo "Installing what constraints/$line.txt pins: about 1 GB to download, where it is not in the cache."
  "$uv" pip install --quiet "${arguments[@]}" --editable '.[dev]'
}

pick_line
key=$({ echo "$line $PWD ${PYTHON:-}" && cat pyproject.toml constraints/"$line".* scripts/setup.sh; } | sha256sum)
if [[ -x $venv/bin/python && $(cat $stamp 2>/dev/null) == "$key" ]]; then
  exit 0
fi

pick_python
check_compiler
echo "The $line dependency line, because $why."
echo "Python $("$python" -c 'import platform; print(platform.python_version())') at $python."
make_venv
install
echo "$key" >$stamp
echo "$venv is ready, in $SECONDS s."
