#!/bin/sh
# Which versions was this release tested with? Writes requirements.txt anew; needs uv.
# For Python 3.11 to 3.13 on Linux and macOS, by markers. What only CUDA needs is left
# out: torch with CUDA names it itself, and torch without does not want its gigabytes.
set -eu
cd "$(dirname "$0")/.."
unset UV_FIND_LINKS UV_TORCH_BACKEND # whose wheel of torch is at hand must not show
pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT
uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
  --constraints constraints/cpu.txt pyproject.toml > "$pinned"
{
  echo '# Written by constraints/pin.sh; change pyproject.toml and run it instead.'
  grep -vE '^(cuda|nvidia|triton)' "$pinned"
} > requirements.txt
