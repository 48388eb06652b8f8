# spinesegdiff segment as an unprivileged user: docs/how-to/container.md
#
#     docker build -t spinesegdiff .                                 torch for CPUs
#     docker build -t spinesegdiff:cuda --build-arg TORCH=cuda .     torch for CUDA, as PyPI has it
FROM python:3.12-slim AS build
ARG TORCH=cpu
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE NOTICE ./
COPY nnunetv2_spinesegdiff nnunetv2_spinesegdiff
COPY dataset_conversion dataset_conversion
RUN python -m venv /opt/spinesegdiff
RUN if [ "$TORCH" = cpu ]; then \
        /opt/spinesegdiff/bin/pip install --no-cache-dir torch torchvision \
            --index-url https://download.pytorch.org/whl/cpu; \
    fi
RUN /opt/spinesegdiff/bin/pip install --no-cache-dir '.[dicom]'

FROM python:3.12-slim
COPY --from=build /opt/spinesegdiff /opt/spinesegdiff
ENV PATH=/opt/spinesegdiff/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /tmp
USER 65534:65534
ENTRYPOINT ["spinesegdiff"]
CMD ["--help"]
