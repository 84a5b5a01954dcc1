# docker build -t mrfa . && docker run --rm --network none --user "$(id -u)" -v "$PWD:/videos" mrfa animate portrait.jpg driving.mp4 -o result.mp4
FROM python:3.12-slim

# PyPI's torch brings several gigabytes of CUDA; --build-arg PIP_EXTRA_INDEX_URL=URL, which pip reads, adds an index of CPU builds.
# Their local version, +cpu, comes before the plain one.
ARG PIP_EXTRA_INDEX_URL
WORKDIR /build
COPY constraints.txt ./
RUN pip install --no-cache-dir "$(grep ^torch== constraints.txt)"

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir -c constraints.txt . && rm -r /build/* && useradd --create-home mrfa

USER mrfa
ENV OMP_WAIT_POLICY=passive
WORKDIR /videos
ENTRYPOINT ["mrfa"]
CMD ["--help"]
