#!/usr/bin/env bash
# Makes the hospitals' package in dist/ (or the folder that is named): the wheel, and hospital.lock, the packages that it needs with their
# hashes, in the versions of requirements.lock. Needs uv (`make setup` fetches one) and the network.
set -euo pipefail
target=$(realpath -m "${1:-$(dirname "$0")/../../dist}")
cd "$(dirname "$0")/../.."
uv=$(command -v uv || echo .tools/bin/uv)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# not into build/ of the project: what an earlier build left there would come into the wheel
printf '[build]\nbuild_base = %s/build\n[egg_info]\negg_base = %s\n' "$scratch" "$scratch" >"$scratch/setup.cfg"
mkdir -p "$target"
rm -f "$target"/estuaire-*.whl "$target"/hospital.lock
DIST_EXTRA_CONFIG="$scratch/setup.cfg" "$uv" build --quiet --wheel --out-dir "$target" .
"$uv" pip compile --quiet pyproject.toml --constraint requirements.lock --override requirements.override.txt --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command 'make hospital-package' -o "$target/hospital.lock"
rm -f "$target/.gitignore" # uv's: dist/ is in the project's own
ls -1 "$target"
