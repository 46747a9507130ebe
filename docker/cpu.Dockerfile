# dub on a CPU. Written by the book and not built by the tests: docs/containers.md.
#   docker build -f docker/cpu.Dockerfile -t dub .
#   docker run --rm -v "$PWD:/work" -v dub-data:/data dub video.mp4 --audio new.wav
FROM python:3.12-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt weights_manifest.json ./
COPY licenses licenses
COPY docs/dub.1 docs/dub.1
COPY dubcli dubcli
RUN pip install --no-cache-dir -c constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu ".[c2pa]"

# Identities, accepted licences and downloaded weights outlive the container in a volume.
RUN useradd --create-home dub && mkdir /data /work && chown dub /data /work
ENV DUB_HOME=/data HF_HOME=/data/hub
VOLUME /data
USER dub
WORKDIR /work
ENTRYPOINT ["dub"]
