#!/usr/bin/env bash
# Make the folder of Arm runtimes: arm.sh FOLDER PYTHON, where PYTHON has pip. Needs no root; x86-64 Linux with apt.
#
#   qemu-aarch64     Debian 13's emulator; Debian 12's version 7.2 crashes in LiteRT and in ONNX Runtime
#   root/            Debian 12's Python 3.11 for arm64, the last one that tflite-runtime has a wheel for
#   current/         a virtual environment of it: LiteRT and ONNX Runtime at the versions of constraints.txt
#   older/           another one: tflite-runtime 2.14 with NumPy 1
#
# Debian packages come from the mirror of this machine's apt sources, checked against Debian's keys. They are pinned by
# release and not by version, because mirrors drop a package when its security update appears.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(realpath -m "$1") python=$2
keys=/usr/share/keyrings/debian-archive-keyring.gpg
debian_packages=(
  libc6 libgcc-s1 libstdc++6 libgomp1 zlib1g libexpat1 libffi8 libssl3 libbz2-1.0 liblzma5 libuuid1
  python3.11-minimal libpython3.11-minimal libpython3.11-stdlib
)
current=(ai-edge-litert onnxruntime numpy annotated-types)
older=(tflite-runtime==2.14.0 numpy==1.26.4 annotated-types==0.8.0)

fail() { echo "make arm: $*" >&2; exit 3; }

[ "$(uname -sm)" != "Linux aarch64" ] || fail "this is an Arm machine: its own runtimes are Arm runtimes, nothing to make"
[ "$(uname -sm)" = "Linux x86_64" ] || fail "needs x86-64 Linux, this is $(uname -sm)"
for tool in apt-get dpkg-deb; do command -v $tool >/dev/null || fail "needs $tool, of Debian and Ubuntu"; done
[ -f $keys ] || fail "$keys is missing; apt-get install debian-archive-keyring"
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
  awk '$2 ~ /^(bookworm|trixie|forky|sid|oldstable|stable|testing)$/ && $3 == "main" {print $1; exit}')}
[ -n "$mirror" ] || fail "this machine's apt sources name no Debian mirror; name one: make arm DEBIAN_MIRROR=URL"

unfinished=$folder.unfinished
rm -rf "$unfinished"
trap 'rm -rf "$unfinished"' EXIT
mkdir -p "$unfinished"/apt/{lists,cache}/partial "$unfinished"/apt/{cache/archives/partial,debs} "$unfinished/root"

# An apt state of its own, so that this machine's packages and sources stay as they are.
apt=(-q -o "Dir::State=$unfinished/apt" -o Dir::State::status=/dev/null -o "Dir::Cache=$unfinished/apt/cache"
  -o "Dir::Etc::sourcelist=$unfinished/apt/sources.list" -o Dir::Etc::sourceparts=- -o APT::Sandbox::User= -o Acquire::Retries=3
  -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64)
printf 'deb [arch=%s signed-by=%s] %s %s main\n' \
  arm64 $keys "$mirror" bookworm amd64 $keys "$mirror" trixie >"$unfinished/apt/sources.list"
apt-get "${apt[@]}" update
(cd "$unfinished/apt/debs" && apt-get "${apt[@]}" download qemu-user:amd64 "${debian_packages[@]/%/:arm64}")
for package in "$unfinished"/apt/debs/*_arm64.deb; do dpkg-deb -x "$package" "$unfinished/root"; done
dpkg-deb --fsys-tarfile "$unfinished"/apt/debs/qemu-user_*.deb | tar -x -C "$unfinished" --strip-components=3 ./usr/bin/qemu-aarch64
rm -r "$unfinished/apt"

# qemu looks for every absolute path below root/ first, so the environments name Python as Debian does.
environment() { # NAME REQUIREMENT...
  local site="$unfinished/$1/lib/python3.11/site-packages" options=(--no-deps --no-compile --only-binary=:all:)
  for version in 17 27 28 34; do options+=(--platform "manylinux_2_${version}_aarch64"); done
  mkdir -p "$unfinished/$1/bin" "$site"
  echo "home = /usr/bin" >"$unfinished/$1/pyvenv.cfg"
  ln -s ../../root/usr/bin/python3.11 "$unfinished/$1/bin/python"
  "$python" -m pip install -q --python-version 3.11 --platform manylinux2014_aarch64 "${options[@]}" --target "$site" "${@:2}"
}
environment current -c constraints.txt "${current[@]}"
environment older "${older[@]}"

unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME
# Run each library once: that proves the folder, and leaves the compiled modules that a sandbox could not write.
checked() { # ENVIRONMENT MODULE...
  "$unfinished/qemu-aarch64" -cpu cortex-a76 -L "$unfinished/root" "$unfinished/$1/bin/python" -c "
import platform, sys
for name in sys.argv[1:]:
    __import__(name)
assert platform.machine() == 'aarch64' and sys.prefix.endswith('/$1'), (platform.machine(), sys.prefix)" "${@:2}"
}
checked current numpy numpy.lib.format annotated_types importlib.metadata ctypes tempfile resource threading ai_edge_litert.interpreter onnxruntime
checked older numpy numpy.lib.format annotated_types importlib.metadata ctypes tempfile resource threading tflite_runtime.interpreter

rm -rf "$folder"
mv "$unfinished" "$folder"
echo "$folder: $("$folder/qemu-aarch64" --version | head -1), $(du -sm "$folder" | cut -f1) MB"
