# HOW TO USE
#
#   docker build -t autotune-cache .                                              slim: what pods copy, and the ops CLI
#   docker build -t my-engine --target engine --build-arg ENGINE_IMAGE=IMAGE .    an engine's image with the same tree
#
# slim, as uid 65532, with a read-only root and without a shell:
#   copy DIR                          the tree into an empty volume: an init container of a pod (the chart does this)
#   run [options] -- ENGINE ARGV...   look for the fleet's result and place it in --cache-dir (--tuner none or wait)
#   key | facts                       where an engine will look, and why | what this node is
#   store ls s3://bucket/prefix       cache-store, for operators
#
# engine: `/opt/autotune/start run ... -- ENGINE ARGV...` in an init container, or before the engine in its command.
#
# With buildah: --ulimit nofile=8192:8192 (zig opens more files than its 1024). Other architectures: --platform
# linux/arm64. The base images are arguments, to be pinned by digest:
#   --build-arg PYTHON_IMAGE=docker.io/library/python:3.13-slim@sha256:...
# The same lock, sources, bases and SOURCE_DATE_EPOCH give the same tree.

ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim
ARG PY310_IMAGE=docker.io/library/python:3.10-slim
ARG PY311_IMAGE=docker.io/library/python:3.11-slim
ARG PY312_IMAGE=docker.io/library/python:3.12-slim
ARG PY313_IMAGE=docker.io/library/python:3.13-slim
ARG ENGINE_IMAGE=docker.io/lmsysorg/sglang:v0.5.23

FROM ${PYTHON_IMAGE} AS tools
ARG UV_VERSION=0.13.9
# the base's certificates, which a builder behind a TLS-inspecting proxy can mount its own over
ENV UV_SYSTEM_CERTS=true
WORKDIR /src
COPY image/build_tools.txt image/
RUN python3 -m venv /tools && /tools/bin/pip install --no-cache-dir "uv==${UV_VERSION}" -r image/build_tools.txt

FROM tools AS launcher
ARG TARGETARCH
COPY image/*.py image/
COPY image/launcher image/launcher
COPY src/cache_store/version.py src/cache_store/
RUN /tools/bin/python image/build_tree.py --arch "${TARGETARCH:-amd64}" --out /out/start --launcher-only

FROM tools AS sources
ARG TARGETARCH
COPY --from=launcher /out/start /out/start
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY image image
COPY src src
RUN /tools/bin/python image/build_tree.py --uv /tools/bin/uv --arch "${TARGETARCH:-amd64}" --launcher /out/start \
      --out /out/tree --unsealed

# one after the other, each Python adds its .pyc: a pod's start is made of imports, and its tree is not writable
FROM ${PY310_IMAGE} AS py310
COPY image/compile_tree.py /
COPY --from=sources /out/tree /tree
RUN ["python3", "/compile_tree.py", "/tree", "3.10"]

FROM ${PY311_IMAGE} AS py311
COPY image/compile_tree.py /
COPY --from=py310 /tree /tree
RUN ["python3", "/compile_tree.py", "/tree", "3.11"]

FROM ${PY312_IMAGE} AS py312
COPY image/compile_tree.py /
COPY --from=py311 /tree /tree
RUN ["python3", "/compile_tree.py", "/tree", "3.12"]

FROM ${PY313_IMAGE} AS py313
COPY image/compile_tree.py /
COPY --from=py312 /tree /tree
RUN ["python3", "/compile_tree.py", "/tree", "3.13"]

FROM sources AS sealed
ARG TARGETARCH
ARG SOURCE_DATE_EPOCH=0
COPY --from=py313 /tree /image/opt/autotune
COPY --from=sources /out/tree-licenses /image/usr/share/doc/autotune-cache/licenses
RUN SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH}" \
      /tools/bin/python image/build_tree.py --arch "${TARGETARCH:-amd64}" --out /image/opt/autotune --seal-only \
 && /tools/bin/python image/make_sbom.py --uv /tools/bin/uv /image/usr/share/doc/autotune-cache/sbom.cdx.json

FROM sources AS operators
ENV UV_PROJECT_ENVIRONMENT=/opt/venv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
RUN /tools/bin/uv sync --frozen --no-dev --no-editable --no-cache --extra cli --python "$(command -v python3)"
COPY --from=sealed /image/opt/autotune /opt/autotune
RUN ["python3", "image/share_tree.py", "/opt/venv", "/opt/autotune"]

FROM ${ENGINE_IMAGE} AS engine
ARG VERSION=0.1.0
LABEL autotune-cache.dev/version="${VERSION}"
COPY --from=sealed /image /

FROM ${PYTHON_IMAGE} AS slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="autotune-cache" \
      org.opencontainers.image.description="FlashInfer autotuning results, tuned once per fleet: the tree that pods copy, and the operators' CLI" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=sealed /image /
COPY --from=operators /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["/opt/autotune/start"]
CMD ["--help"]
