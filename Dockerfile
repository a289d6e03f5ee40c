# syntax=docker/dockerfile:1
# anew on the CPU. For GPUs give --build-arg BASE=pytorch/pytorch:2.9.0-cuda12.8-cudnn9-runtime.
ARG BASE=python:3.13-slim
FROM ${BASE}
WORKDIR /anew
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# hadolint ignore=DL3013
RUN pip install --no-cache-dir '.[all]' && useradd --create-home --uid 1000 user
USER 1000
WORKDIR /home/user
ENTRYPOINT ["anew"]
CMD ["--help"]
