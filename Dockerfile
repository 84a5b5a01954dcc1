# docker build -t mrfa . && docker run --rm --network none --user "$(id -u)" -v "$PWD:/work" mrfa animate portrait.jpg driving.mp4 -o result.mp4
FROM python:3.12-slim

# torch's CPU build: half a gigabyte instead of several. The other packages come from PyPI.
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "$(grep ^torch== /tmp/constraints.txt)"

COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN pip install --no-cache-dir -c /tmp/constraints.txt /build && rm -r /build && useradd --create-home mrfa

USER mrfa
ENV OMP_WAIT_POLICY=passive
WORKDIR /work
ENTRYPOINT ["mrfa"]
CMD ["--help"]
