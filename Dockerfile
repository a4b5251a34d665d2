# A server without TensorFlow: what OpenVINO runs of a matcher's folder (frozen extractors, and trained ones converted).
# docker build -t imagematch .     then see docs/howto/server.md
FROM python:3.12-slim AS built
WORKDIR /source
COPY pyproject.toml requirements.txt requirements-dev.txt README.md LICENSE ./
RUN python -m venv /opt/imagematch \
    && grep -hE '^(faiss-cpu|jinja2|mtcnn|numpy|opencv-python-headless|openvino|pillow|psutil|pydantic|PyYAML|rich|scipy|SQLAlchemy|threadpoolctl|typer|fastapi|uvicorn|python-multipart|psycopg\[binary\])==' \
       requirements.txt requirements-dev.txt > serve.txt \
    && /opt/imagematch/bin/pip install --no-cache-dir -r serve.txt 'setuptools>=77'
COPY src src
RUN /opt/imagematch/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/imagematch/bin/pip uninstall --yes setuptools

FROM python:3.12-slim
COPY --from=built /opt/imagematch /opt/imagematch
RUN useradd --system --uid 10001 imagematch
USER 10001
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/tmp
EXPOSE 8000
HEALTHCHECK CMD ["/opt/imagematch/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["/opt/imagematch/bin/imagematch"]
CMD ["serve", "--model", "/model", "--host", "0.0.0.0"]
