# One image for the API, the worker, the listener for bounces, and the migrations. The command selects one of them:
#   serve (the default) | worker | bounces lmtp | migrate

FROM python:3.13-slim AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# The build backend is in a separate environment, so it does not become part of the image.
COPY requirements/ requirements/
RUN python -m venv /opt/hatchling \
 && /opt/hatchling/bin/pip install --require-hashes -r requirements/install.txt \
 && python -m venv /opt/marketing \
 && /opt/marketing/bin/pip install --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY src/ src/
RUN /opt/hatchling/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/marketing/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/marketing/bin/python -m compileall -q /opt/marketing/lib

FROM python:3.13-slim
# The version of the package: docker build --build-arg VERSION="$(marketing-service --version)" .
ARG VERSION=unknown
LABEL org.opencontainers.image.title="marketing-service" org.opencontainers.image.version=$VERSION
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin marketing
COPY --from=build /opt/marketing /opt/marketing
WORKDIR /srv/marketing
COPY alembic.ini ./
COPY migrations/ migrations/
ENV PATH=/opt/marketing/bin:$PATH PYTHONUNBUFFERED=1
USER marketing
# 8001 is for the operators: health, readiness and metrics. Do not publish it.
EXPOSE 8000 8001
# It asks where the command line of process 1 lets the API listen. A container without HTTP is healthy while it runs.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-m", "marketing_service.healthcheck"]
ENTRYPOINT ["marketing-service"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--internal-host", "0.0.0.0", "--internal-port", "8001"]
