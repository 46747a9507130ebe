# dub on an NVIDIA GPU. Written by the book and not built by the tests: docs/containers.md.
#   docker build -f docker/cuda.Dockerfile -t dub-cuda .
#   docker run --rm --gpus all -v "$PWD:/work" -v dub-data:/data dub-cuda video.mp4 --audio new.wav
# torch's wheels bring CUDA along, so the image is plain Python; the driver comes from the host,
# by the NVIDIA Container Toolkit.
FROM python:3.12-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt weights_manifest.json ./
COPY licenses licenses
COPY docs/dub.1 docs/dub.1
COPY dubcli dubcli
RUN pip install --no-cache-dir -c constraints.txt ".[c2pa]"

# Identities, accepted licences and downloaded weights outlive the container in a volume.
RUN useradd --create-home dub && mkdir /data /work && chown dub /data /work
ENV DUB_HOME=/data HF_HOME=/data/hub
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /data
USER dub
WORKDIR /work
ENTRYPOINT ["dub"]
