#!/usr/bin/env bash
# A search on Slurm: `sbatch deploy/slurm.sh --config photos.yaml --out /shared/runs/photos`, and to continue it
# `sbatch deploy/slurm.sh --resume /shared/runs/photos`. /shared is a disk that all nodes see.
#SBATCH --job-name=nas-distill
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=08:00:00
# SIGTERM 60 s before the time is over, to this script only: the search saves its state.
#SBATCH --signal=B:TERM@60
set -euo pipefail

export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(openssl rand -hex 32)}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))

srun --nodes=1 --ntasks=1 -w "$head" \
  ray start --head --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false --block &
if [ "$SLURM_NNODES" -gt 1 ]; then
  srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$head" \
    bash -c "sleep 10; ray start --address=$head:$port --num-cpus=$SLURM_CPUS_PER_TASK --block" &
fi

sleep 30
# Not `exec`: the shell receives SIGTERM and passes it on.
python -m nas_distill search --address "$head:$port" --wait-for-resources 5m "$@" &
search=$!
trap 'kill -TERM $search' TERM
wait $search || wait $search
