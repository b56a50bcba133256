# Sanhui's image: the desk pages and the wheel are built in a first stage, the second holds only what runs.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
# For the packet path, which is compiled (setup.py).
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY requirements.lock pyproject.toml Makefile ./
COPY tools/ tools/
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --quiet -r requirements.lock
COPY . .
RUN cd web/ui && PATH="/src/.venv/bin:$PATH" npm ci --no-audit --no-fund && PATH="/src/.venv/bin:$PATH" npm run build
RUN SANHUI_COMPILE=1 .venv/bin/python -m build --wheel --no-isolation \
    && .venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.12 \
       --constraint requirements.lock pyproject.toml -o /src/runtime.lock

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/sanhui sanhui
COPY --from=build /src/runtime.lock /src/dist/*.whl /tmp/install/
RUN pip install --no-cache-dir --quiet -r /tmp/install/runtime.lock \
    && pip install --no-cache-dir --quiet --no-deps /tmp/install/*.whl \
    && rm -rf /tmp/install
USER sanhui
WORKDIR /var/lib/sanhui
VOLUME /var/lib/sanhui
EXPOSE 8080 8554 8189/udp 8189/tcp
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["sanhui"]
CMD ["serve"]
