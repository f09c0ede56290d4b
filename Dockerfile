# The image of tokenguard: 'make image' builds it. One process, without a shell, as any user that is not root. Nothing is written
# outside /tmp and /dev/shm, so the root file system may be read-only.
#
# BASE is a Debian with Python 3.11 or newer and its venv module. A tag may change; name a digest (python@sha256:...) to keep the base.
ARG BASE=python:3.13.14-slim-trixie


FROM ${BASE} AS build
WORKDIR /build

# mypyc compiles C. Debian has the headers of its Python in a separate package.
RUN headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
    missing=$(command -v cc >/dev/null || echo gcc libc6-dev; [ -e "$headers/Python.h" ] || echo python3-dev); \
    [ -z "$missing" ] || { apt-get update && \
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing; }

# The secret names the package index if it is not pip's own: --secret id=pip.conf,src=FILE.
# No debugging symbols: they would contain the name of pip's temporary folder, which differs in each build.
COPY requirements/build.txt requirements/run.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv venv && \
    venv/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt && \
    CFLAGS=-g0 venv/bin/pip wheel --no-cache-dir --no-build-isolation --require-hashes -r requirements/run.txt -w wheels && \
    venv/bin/pip install --no-cache-dir --no-index --no-deps wheels/*.whl

# mypyc, which needs the types of all that is imported, compiles the modules of webhook/compiled.py.
COPY pyproject.toml setup.py README.md ./
COPY webhook webhook
RUN TOKENGUARD_COMPILE=1 CFLAGS=-g0 PYTHONHASHSEED=0 \
        venv/bin/pip wheel --no-index --no-deps --no-build-isolation -w wheels .

# What nothing imports is removed: of the Kubernetes client the asynchronous one and thousands of models (70 MB), the distributions
# of not-in-image.txt, debugging symbols, and the hashes of the wheels, which differ in each build. The rest is compiled here, because
# nothing can be compiled in a read-only image, and is never compared with the dates of the sources.
COPY release/not-in-image.txt release/
RUN python3 -m venv --without-pip /opt/tokenguard && \
    venv/bin/pip --python /opt/tokenguard/bin/python install --no-index --no-deps --no-compile wheels/*.whl && \
    venv/bin/pip --python /opt/tokenguard/bin/python uninstall --yes --requirement release/not-in-image.txt && \
    cd /opt/tokenguard/lib/python3*/site-packages && \
    rm -r kubernetes/aio kubernetes/client/api/[a-z]* kubernetes/client/models/[a-z]* && \
    rm ./*.dist-info/direct_url.json && \
    sed -i '/direct_url.json/d' ./*.dist-info/RECORD && \
    find . -name '*.so*' -exec strip --strip-unneeded {} + && \
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/tokenguard/lib


# Of the base only what runs; the standard library is compiled, too. The last command fails if a module of webhook/compiled.py is
# missing or was compiled from another source.
FROM ${BASE} AS root
WORKDIR /build
COPY --from=build /opt/tokenguard /opt/tokenguard
COPY requirements/run.txt requirements/
COPY release/image_root.py release/sbom.py release/
ARG VERSION
ARG SOURCE_DATE_EPOCH=0
RUN python3 release/image_root.py root && \
    python3 -m compileall -q --invalidation-mode unchecked-hash -s root -p / \
        "root$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" && \
    python3 release/sbom.py "$VERSION" --lock requirements/run.txt --root root > root/opt/tokenguard/sbom.cdx.json && \
    find root -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} + && \
    chroot root /opt/tokenguard/bin/python -m webhook.compiled


# One layer.
FROM scratch
COPY --from=root /build/root /
ARG BASE
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="tokenguard" \
      org.opencontainers.image.description="A Kubernetes admission webhook that removes long-lived service account tokens" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
ENV PATH=/opt/tokenguard/bin
# A number, because Kubernetes cannot tell whether a name is root's. Any other number will do, with any group.
USER 65532:65532
EXPOSE 8443
ENTRYPOINT ["tokenguard"]
CMD ["serve"]
