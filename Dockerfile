# syntax=docker/dockerfile:1
# An image with driftmap, for a CPU (the default) or, with `--build-arg TORCH=cuda`, for
# GPUs of NVIDIA: torch brings CUDA itself, the driver stays that of the host.
FROM python:3.12-slim

ARG TORCH=cpu

# Nothing runs as root. No secret is known here: tokens come with `docker run -e`.
RUN useradd --create-home --uid 1000 driftmap && install -d -o driftmap /opt/driftmap /work
USER driftmap
WORKDIR /opt/driftmap
COPY --chown=driftmap . .

# The lines of README.md. The index of PyTorch has the small wheel for CPUs.
ENV PIP_NO_CACHE_DIR=1
RUN set -eu; \
    if [ "$TORCH" = cpu ]; then \
      export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu; \
      python3 -m venv .venv && .venv/bin/pip install -c constraints/cpu.txt -e .; \
      .venv/bin/pip install -c constraints/cpu.txt -e '.[ray]'; \
    elif [ "$TORCH" = cuda ]; then \
      python3 -m venv .venv && .venv/bin/pip install -e .; \
      .venv/bin/pip install -e '.[ray]'; \
    else \
      echo "TORCH is $TORCH; give cpu or cuda" >&2; exit 2; \
    fi

ENV PATH=/opt/driftmap/.venv/bin:$PATH
WORKDIR /work
ENTRYPOINT ["driftmap"]
CMD ["--help"]
