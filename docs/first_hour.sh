#!/bin/sh
# The first hour with deepmerge: from a Caffe pair to a faster one, and a page about it.
#
#   sh docs/first_hour.sh NET.prototxt NET.caffemodel TRAIN TEST
#
# TRAIN are images without labels, TEST are labelled ones, such as folder:photos/ and npz:test.npz. Environment variables: OUT, a
# new folder (first_hour); MINUTES, for recover (5); TIMING, seconds for times (60); INSTALL, the command that installs deepmerge
# (`true`: none).
set -eu
net=$1 weights=$2 train=$3 test=$4
: "${INSTALL:=pip install deepmerge-caffe[torch]}" "${MINUTES:=5}" "${OUT:=first_hour}" "${TIMING:=60}"

$INSTALL
mkdir "$OUT"
deepmerge plan "$net" "$weights" --write "$OUT/recipe.toml"
deepmerge convert "$net" "$weights" --recipe "$OUT/recipe.toml" -o "$OUT/merged"
deepmerge recover "$OUT/merged" --data "$train" -o "$OUT/recovered" --minutes "$MINUTES"
deepmerge eval "$OUT/recovered" --data "$test"
deepmerge table "$OUT/merged" "$OUT/recovered" --data "$test" --seconds "$TIMING" --json > "$OUT/table.json"
deepmerge report "$OUT/recovered" --table "$OUT/table.json"
