# `fastwave serve` in a container, as a user without rights:
#   docker build -t fastwave . && docker run --rm -p 127.0.0.1:8000:8000 fastwave
# docs/serving.md says how to serve models of your own, and how to ask for a token.
FROM python:3.12-slim-bookworm AS build
# Debian keeps no old versions, so that a pinned g++ could not be installed for long
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
ENV FASTWAVE_CUDA=OFF
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
# torch for the CPU alone: the usual one brings gigabytes of CUDA
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /wheels/
RUN pip install --no-cache-dir -c /wheels/constraints.txt --extra-index-url "$TORCH_INDEX" torch
COPY --from=build /wheels /wheels
RUN for wheel in /wheels/*.whl; do pip install --no-cache-dir -c /wheels/constraints.txt "${wheel}[serve]" || exit 1; done \
    && rm -r /wheels
RUN useradd --system --create-home --uid 10001 fastwave
USER 10001
WORKDIR /home/fastwave
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["fastwave", "serve", "--host", "0.0.0.0", "--port", "8000"]
