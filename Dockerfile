# The image of workers, migrations and the sandbox. Built from locked wheels; no compiler and no package index in the result.
# Pinned by version, not by digest: bump both lines together, and read the base image's notes when you do.
FROM python:3.13.14-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /build

# The dependencies first: this layer changes only with the lock.
COPY requirements/fleet.txt requirements/fleet.txt
RUN python -m venv --without-pip /opt/orchestrator \
    && python -m pip --python /opt/orchestrator/bin/python install \
        --require-hashes --only-binary :all: --no-deps --requirement requirements/fleet.txt

COPY . .
# hatchling stands in the lock, so the project is built without an index; then what only builds goes again.
RUN /opt/orchestrator/bin/python -m hatchling build -t wheel -d dist \
    && python -m pip --python /opt/orchestrator/bin/python install --no-index --no-deps dist/*.whl \
    && python -m pip --python /opt/orchestrator/bin/python uninstall --yes hatchling pathspec pluggy tomlkit trove-classifiers \
    && /opt/orchestrator/bin/python -m compileall -q /opt/orchestrator/lib

FROM python:3.13.14-slim-bookworm

ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="media-orchestrator" \
      org.opencontainers.image.description="Runs image, video and transcription jobs on the Z.ai API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"

# A fixed number: the volume that holds the journals keeps its owner over every rebuild.
RUN groupadd --gid 10001 orchestrator \
    && useradd --uid 10001 --gid orchestrator --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin orchestrator \
    && install -d -o orchestrator -g orchestrator -m 0700 /var/lib/orchestrator /var/lib/orchestrator/data

# Owned by root: the process cannot change its own code.
COPY --from=build /opt/orchestrator /opt/orchestrator

ENV PATH=/opt/orchestrator/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORCHESTRATOR_DATA_DIR=/var/lib/orchestrator/data \
    ORCHESTRATOR_LOG_FORMAT=json \
    ORCHESTRATOR_LOG_LEVEL=info

USER 10001:10001
WORKDIR /var/lib/orchestrator
VOLUME /var/lib/orchestrator
STOPSIGNAL SIGTERM
# No HEALTHCHECK here: one-shot commands run from this image too. Each service of docker-compose.yml has its own.
ENTRYPOINT ["orchestrator"]
CMD ["--help"]
