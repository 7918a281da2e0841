# The workshop: training, converting, building engines for RTX. On a host, not on a board.
#   docker build -f docker/workshop.Dockerfile -t edge-ser:workshop .
#   docker run -v "$PWD:/work" edge-ser:workshop convert runs/s/all/checkpoint.safetensors --out pack
FROM python:3.12.8-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN SOURCE=/src WHEELS=/wheels EXTRAS=convert,semantic,signed docker/install/build-wheels

FROM python:3.12.8-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,from=build,source=/src/docker/install,target=/install \
    WHEELS=/wheels EXTRAS=convert,semantic,signed LEAN=no PACKAGES=libportaudio2 \
    /install/install-runtime
ENV PATH=/opt/edge-ser/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /work
ENTRYPOINT ["edge-ser"]
CMD ["--help"]
HEALTHCHECK NONE
