# One image for all jobs: docker run rtexp faust -A rtexp.apps.aggregate worker -l info
FROM python:3.12-slim AS build
# faust-streaming has no wheel for arm64; its build uses a compiler where there is one.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv /opt/rtexp \
 && /opt/rtexp/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && /opt/rtexp/bin/pip install --no-cache-dir --require-hashes --no-build-isolation -r requirements/runtime.txt
COPY pyproject.toml README.md ./
COPY src src
RUN /opt/rtexp/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
COPY --from=build /opt/rtexp /opt/rtexp
ENV PATH=/opt/rtexp/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home --home-dir /var/lib/rtexp rtexp && install -d -o rtexp /var/lib/rtexp/data
USER rtexp
WORKDIR /var/lib/rtexp
CMD ["rtexp", "--help"]
