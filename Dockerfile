# docker build -t mrfa . && docker run --rm --network none --user "$(id -u)" -v "$PWD:/videos" mrfa animate portrait.jpg driving.mp4 -o result.mp4
FROM python:3.12-slim

# PyPI's torch brings several gigabytes of CUDA; --build-arg TORCH_INDEX=URL takes it from an index of CPU builds.
ARG TORCH_INDEX
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep ^torch== /tmp/constraints.txt)"

COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN pip install --no-cache-dir -c /tmp/constraints.txt /build && rm -r /build && useradd --create-home mrfa

USER mrfa
ENV OMP_WAIT_POLICY=passive
WORKDIR /videos
ENTRYPOINT ["mrfa"]
CMD ["--help"]
