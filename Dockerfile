# sklearn-kt with torch's CPU build and every extra that users may need:
#   docker build -t sklearn_kt .
#   docker run --rm sklearn_kt properties MgO GaAs
#   docker run --rm -v "$PWD:/data" sklearn_kt fit gaps.csv --target gap -o gap.model
FROM python:3.11-slim

WORKDIR /opt/sklearn_kt
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY sklearn_kt sklearn_kt
RUN pip install --no-cache-dir -c constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu '.[all]'

# tables and models of the host are mounted here
WORKDIR /data
ENTRYPOINT ["sklearn-kt"]
CMD ["--help"]
