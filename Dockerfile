# syntax=docker/dockerfile:1
# Clawback's server. compose.yaml builds and runs it beside a NATS; alone it starts its own NATS under /data.

FROM python:3.13.7-slim-trixie AS build
WORKDIR /build
# What builds the package stays out of what runs it.
RUN python -m venv /opt/clawback && python -m venv /opt/build
COPY requirements.lock requirements-build.lock ./
RUN /opt/clawback/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY .claude-plugin ./.claude-plugin
COPY plugin ./plugin
COPY src ./src
# docker build --build-arg COMMIT="$(git rev-parse HEAD)"
ARG COMMIT=""
RUN BUILD_COMMIT="$COMMIT" /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/clawback/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.13.7-slim-trixie
# A volume that is new takes this directory's owner.
RUN install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/clawback /opt/clawback
ENV PATH=/opt/clawback/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CLAWBACK_HOST=0.0.0.0 \
    CLAWBACK_DATA_DIR=/data
USER 10001:10001
VOLUME /data
EXPOSE 8787
# Whether the process lives. Whether it can take events is /readyz, and a restart does not mend that.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8787/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["clawback"]
CMD ["serve"]
