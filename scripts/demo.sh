#!/usr/bin/env bash
# From photographs to a trained network and a report, on any machine with Python 3.11+: bash scripts/demo.sh [--short]
# Every step resumes: run the same command again after an interruption. --short is the small version that CI runs.
set -euo pipefail
source "$(dirname "$0")/setup.sh"

folder=demo pretrain_steps=900 rows=600 crops=48
settings=(--config train/recipes/demo.yaml)
if [ "${1:-}" = --short ]; then
    folder=demo-short pretrain_steps=500 rows=160 crops=16
    settings+=(--iterations 60 --interval-steps 10)
elif [ $# -gt 0 ]; then
    echo "error: unknown option $1: the only one is --short" >&2
    exit 2
fi
shards=shards/$folder run=runs/$folder
settings+=(--shards "$shards" --run "$run")
# Threads of one small network wait for each other: on a busy machine one thread is faster than two.
if awk -v cores="$(nproc)" '{ exit !($1 > cores) }' /proc/loadavg; then
    export REALSR_THREADS=1
fi
launch=(python train/run.py) # as `accelerate launch train/run.py` with one process, but Ctrl-C waits until it has saved

echo "== 1/5 render four subspaces from scikit-image's photographs"
python -m gen.render --subspace all --out "$shards" --patch 96 --count $rows --rows-per-shard 100
python -m gen.render --subspace all --out "$shards" --patch 160 --split val --count $crops
mkdir -p "$run"
python -m gen.preview "$shards" --out "$run/preview.html" --rows 2

echo "== 2/5 pre-train one small network on all of them"
"${launch[@]}" "${settings[@]}" --run "$run/pretrained" --init null --policy uniform --lr 1e-3 \
    --iterations $pretrain_steps --interval-steps $pretrain_steps

echo "== 3/5 train four single-task references and the shared network from it"
"${launch[@]}" "${settings[@]}" --init "$run/pretrained"

echo "== 4/5 evaluate"
testsets=()
for task in mild blur noise severe; do
    testsets+=("$task=$shards/$task-val")
    python -m train.evaluate --checkpoint "$run/references/$task" --testset "$task=$shards/$task-val" \
        --out "$run/evaluation/single-$task" --overwrite
done
python -m train.evaluate --checkpoint "$run" --testset "${testsets[@]}" --out "$run/evaluation/shared" --overwrite

echo "== 5/5 report"
python -m train.report "$run"
