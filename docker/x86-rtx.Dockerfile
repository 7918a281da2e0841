# edge-ser on a kiosk with an RTX GPU (TensorRT for RTX, CUDA 12.8):
#   docker build -f docker/x86-rtx.Dockerfile -t edge-ser:x86-rtx .
#   docker run --gpus all --device /dev/snd --group-add audio edge-ser:x86-rtx
FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS build
WORKDIR /src
COPY . .
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && SOURCE=/src WHEELS=/wheels EXTRAS=serve,mqtt,signed,rtx PURE=tensorrt-rtx-cu12 \
        COMPILED=pycuda docker/install/build-wheels

FROM nvidia/cuda:12.8.1-base-ubuntu24.04
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,from=build,source=/src/docker/install,target=/install \
    WHEELS=/wheels EXTRAS=serve,mqtt,signed,rtx COMPILED=pycuda \
    PACKAGES="libportaudio2 python3-venv" /install/install-runtime
ENV PATH=/opt/edge-ser/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/edge-ser \
    EDGE_SER_PACKS=/var/lib/edge-ser/packs \
    EDGE_SER_ENGINES=/var/cache/edge-ser/engines
USER 10001
VOLUME ["/var/lib/edge-ser", "/var/cache/edge-ser"]
EXPOSE 8765
HEALTHCHECK --interval=15s --timeout=5s --start-period=5m \
    CMD ["python", "-m", "edge_ser.runtime.health"]
ENTRYPOINT ["/bin/sh", "-c", "edge-ser build --backend tensorrt-rtx && exec edge-ser \"$@\"", "edge-ser"]
CMD ["serve", "--host", "0.0.0.0", "--backend", "tensorrt-rtx", "--require-backend", "tensorrt-rtx"]
