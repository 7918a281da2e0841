# edge-ser on Jetson Orin, JetPack 6.1 and 6.2 (L4T r36.4, TensorRT 10.3); build it on the board:
#   docker build -f docker/jetson-jp6.Dockerfile -t edge-ser:jetson-jp6 .
#   docker run --runtime nvidia --device /dev/snd --group-add audio --group-add video \
#       --group-add "$(getent group render | cut -d: -f3)" edge-ser:jetson-jp6
FROM nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel AS build
WORKDIR /src
COPY . .
ENV PATH=/usr/local/cuda/bin:$PATH
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && SOURCE=/src WHEELS=/wheels EXTRAS=serve,mqtt,signed,engines COMPILED=pycuda \
        docker/install/build-wheels

FROM nvcr.io/nvidia/l4t-tensorrt:r10.3.0-runtime
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,from=build,source=/src/docker/install,target=/install \
    WHEELS=/wheels EXTRAS=serve,mqtt,signed,engines COMPILED=pycuda SITE=yes \
    PACKAGES="libportaudio2 python3-venv python3-libnvinfer" /install/install-runtime
ENV PATH=/opt/edge-ser/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/edge-ser \
    EDGE_SER_PACKS=/var/lib/edge-ser/packs \
    EDGE_SER_ENGINES=/var/cache/edge-ser/engines
USER 10001
VOLUME ["/var/lib/edge-ser", "/var/cache/edge-ser"]
EXPOSE 8765
# The first start builds an engine, which takes minutes.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20m \
    CMD ["python", "-m", "edge_ser.runtime.health"]
ENTRYPOINT ["/bin/sh", "-c", "edge-ser build --backend tensorrt && exec edge-ser \"$@\"", "edge-ser"]
CMD ["serve", "--host", "0.0.0.0", "--backend", "tensorrt", "--require-backend", "tensorrt"]
