#!/bin/bash
#SBATCH --job-name=driftmap
#SBATCH --array=1-4
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --requeue
# Runs a driftmap command from its image, one part of the samples per task of the array:
#
#   OUT=runs/score sbatch scripts/slurm_container.sh score --model M --data D
#   driftmap merge runs/score-parts/{1..4} --out runs/score
#
# OUT             run folder of the whole, on storage that all machines share
# IMAGE           the image: a file of Apptainer, or a name that Pyxis and Enroot know
# CONTAINER       apptainer (default), or enroot for `srun --container-image`
# Tokens, such as HF_TOKEN, come from the environment of the job and are in no image.
set -euo pipefail
: "${OUT:?name the run folder of the whole, as in OUT=runs/score}"
IMAGE="${IMAGE:-driftmap.sif}"
PART="$SLURM_ARRAY_TASK_ID"
COMMAND=(driftmap "$@" --partition "$PART/$SLURM_ARRAY_TASK_COUNT" --out "$OUT-parts/$PART")

case "${CONTAINER:-apptainer}" in
apptainer)
    srun apptainer exec --nv --bind "$PWD" --pwd "$PWD" "$IMAGE" "${COMMAND[@]}"
    ;;
enroot)
    srun --container-image="$IMAGE" --container-mounts="$PWD:$PWD" \
        --container-workdir="$PWD" "${COMMAND[@]}"
    ;;
*)
    echo "CONTAINER is $CONTAINER; give apptainer or enroot" >&2
    exit 2
    ;;
esac
