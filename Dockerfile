# The image of tokenguard: 'make image' builds it. One process, a user that is only a number, nothing written outside
# /tmp and /dev/shm, so that the root file system may be read-only.
#
# BASE is a Debian with Python 3.11 or newer and its venv module. A tag may be built anew upstream; name a digest
# (python@sha256:...) where the base must never change.
ARG BASE=python:3.13.14-slim-trixie


FROM ${BASE} AS build
WORKDIR /build

# mypyc compiles C. Debian has the headers of its Python in a package of their own.
RUN headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
    missing=$(command -v cc >/dev/null || echo gcc libc6-dev; [ -e "$headers/Python.h" ] || echo python3-dev); \
    [ -z "$missing" ] || { apt-get update && \
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing; }

# The secret says which package index to use where it isn't pip's own: --secret id=pip.conf,src=FILE.
# No debugging symbols: they would hold the name of pip's temporary folder, another one in each build.
COPY requirements/build.txt requirements/run.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv venv && \
    venv/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt && \
    CFLAGS=-g0 venv/bin/pip wheel --no-cache-dir --no-build-isolation --require-hashes -r requirements/run.txt -w wheels && \
    venv/bin/pip install --no-cache-dir --no-index --no-deps wheels/*.whl

# Beside the program lies what it was made from, as 'make sbom' writes it.
#
# Compiled here, for nothing can be compiled in a read-only image, and never compared with the sources' dates. Of the
# Kubernetes client's thousands of files only those that tokenguard may import: the rest would weigh 50 MB.
#
# mypyc, which needs the types of all that is imported, compiles the modules of webhook/compiled.py; the last line of the
# step fails if one of them is missing or was compiled from another source.
COPY pyproject.toml setup.py README.md ./
COPY requirements/sbom.py requirements/
COPY webhook webhook
RUN TOKENGUARD_COMPILE=1 CFLAGS=-g0 PYTHONHASHSEED=0 \
        venv/bin/pip wheel --no-index --no-deps --no-build-isolation -w wheels . && \
    python3 -m venv --without-pip /opt/tokenguard && \
    venv/bin/pip --python /opt/tokenguard/bin/python install --no-index --no-deps --no-compile wheels/*.whl && \
    python3 -m compileall -q --invalidation-mode unchecked-hash \
        -x '/kubernetes/(aio/|client/(api|models)/[a-z])' /opt/tokenguard/lib && \
    python3 requirements/sbom.py "$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" < requirements/run.txt \
        > /opt/tokenguard/sbom.cdx.json && \
    cd /tmp && /opt/tokenguard/bin/python -m webhook.compiled


# The base without pip, and with the standard library compiled.
FROM ${BASE} AS root
COPY --from=build /opt/tokenguard /opt/tokenguard
ARG SOURCE_DATE_EPOCH=0
RUN find /usr \( -name pip -o -name 'pip[-0-9]*' -o -name ensurepip -o -name python-wheels \) -prune \
        -exec rm -r {} + && \
    python3 -m compileall -qf --invalidation-mode unchecked-hash -x '/tests?/' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" && \
    find /opt /usr -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +


# One layer, in which nothing lies hidden that was removed.
FROM scratch
COPY --from=root / /
ARG BASE
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="tokenguard" \
      org.opencontainers.image.description="A Kubernetes admission webhook that ends long-lived service account tokens" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
ENV PATH=/opt/tokenguard/bin:/usr/local/bin:/usr/bin:/bin
# A number: only then can Kubernetes tell that it isn't root.
USER 65532:65532
EXPOSE 8443
ENTRYPOINT ["tokenguard"]
CMD ["serve"]
