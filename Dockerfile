# One image for all jobs: docker run rtexp faust -A rtexp.apps.aggregate worker -l info
# Runs with a read-only root (--read-only --tmpfs /tmp) and without capabilities: only the data directory is written to.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
# faust-streaming has no wheel for arm64; its build uses a compiler where there is one. It stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements/build.txt requirements/runtime.txt requirements/
# Wheels are made with tools of their own, so that no compiler and no setuptools come along.
RUN python -m venv /tools \
 && /tools/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && /tools/bin/pip wheel --no-cache-dir --no-deps --require-hashes --no-build-isolation -w /wheels -r requirements/runtime.txt \
 && python -m venv /opt/rtexp \
 && /opt/rtexp/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation -w /own . \
 && /opt/rtexp/bin/pip install --no-cache-dir --no-deps --no-index /own/*.whl \
 && /opt/rtexp/bin/pip check

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="rtexp" \
      org.opencontainers.image.description="Real-time experiment analytics: exact A/B counts, seconds after users act" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes can see that it isn't root; new volumes take over the owner of the data directory.
RUN groupadd --gid 10001 rtexp \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/rtexp --no-create-home --shell /usr/sbin/nologin rtexp \
 && install -d -o 10001 -g 10001 /var/lib/rtexp /var/lib/rtexp/data
COPY --from=build /opt/rtexp /opt/rtexp
ENV PATH=/opt/rtexp/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/rtexp
# A clean stop takes a checkpoint, which may take a minute: docker stop --time 70
STOPSIGNAL SIGTERM
# No HEALTHCHECK: ports and meaning differ by command; compose.yaml and deploy/kubernetes say what each is asked.
CMD ["rtexp", "--help"]
