#!/usr/bin/env bash
# Install the wheel in dist/ into an empty environment and run the demo on the model that the sdist carries.
# usage: tests/dist.sh PYTHON
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$1" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip --disable-pip-version-check install -q -c "$root/constraints.txt" "$root"/dist/*.whl
tar -xzf "$root"/dist/*.tar.gz -C "$scratch" --strip-components=1 --wildcards '*/models/*'

cd "$scratch"   # away from the checkout: only what was installed is imported
net=models/inception_mini/inception_mini
PATH=$scratch/venv/bin:$PATH
deepmerge convert $net.prototxt $net.caffemodel --exact -o exact -q
deepmerge verify $net.prototxt $net.caffemodel exact/deploy.prototxt exact/weights.caffemodel -q
deepmerge convert $net.prototxt $net.caffemodel --tucker -o merged -q
echo "$("$1" --version): the wheel installs in $(du -sm venv/lib/python*/site-packages | cut -f1) MB and converts"
