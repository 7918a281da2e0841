# edge-ser on the CPU, amd64 and arm64:
#   docker build -f docker/cpu.Dockerfile -t edge-ser:cpu .
FROM python:3.12.8-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN SOURCE=/src WHEELS=/wheels EXTRAS=serve,mqtt,signed docker/install/build-wheels

FROM python:3.12.8-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,from=build,source=/src/docker/install,target=/install \
    WHEELS=/wheels EXTRAS=serve,mqtt,signed PACKAGES=libportaudio2 /install/install-runtime
ENV PATH=/opt/edge-ser/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/edge-ser \
    EDGE_SER_PACKS=/var/lib/edge-ser/packs
USER 10001
VOLUME ["/var/lib/edge-ser"]
EXPOSE 8765
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s \
    CMD ["python", "-m", "edge_ser.runtime.health"]
ENTRYPOINT ["edge-ser"]
CMD ["serve", "--host", "0.0.0.0"]
