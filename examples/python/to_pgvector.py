"""Bring the features of 'compress embed' into PostgreSQL with pgvector, and search there.

    python to_pgvector.py features.parquet postgresql://localhost/photographs            # again: only what changed
    python to_pgvector.py features.parquet postgresql://localhost/photographs NAME       # the ten nearest to NAME

Needs pyarrow and psycopg, and no Compress. The table has one row per photograph; photographs that are no longer in the
file are deleted. Readers see all of an update or nothing of it.
"""

from __future__ import annotations

import sys

import psycopg
from pyarrow import parquet

TOP = 10
OPERATORS = {"l2": ("<->", "vector_l2_ops"), "cosine": ("<=>", "vector_cosine_ops")}


def load(file: str, url: str) -> tuple[int, int, int]:
    """Make the table like the file; returns how many rows were added, changed and deleted."""
    features = parquet.ParquetFile(file)
    schema = features.schema_arrow
    dim, distance = schema.field("embedding").type.list_size, schema.metadata[b"distance"].decode()
    with psycopg.connect(url) as database:  # one transaction
        database.execute("CREATE EXTENSION IF NOT EXISTS vector")
        columns = f"name text PRIMARY KEY, label text NOT NULL, sha256 bytea NOT NULL, embedding vector({dim}) NOT NULL"
        database.execute(f"CREATE TABLE IF NOT EXISTS photographs ({columns})")
        database.execute(f"CREATE TEMPORARY TABLE new ({columns}) ON COMMIT DROP")
        with database.cursor().copy("COPY new FROM STDIN") as copy:
            for batch in features.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    vector = "[" + ",".join(map(repr, row["embedding"])) + "]"
                    copy.write_row((row["name"], row["label"], row["sha256"], vector))
        gone = database.execute("DELETE FROM photographs WHERE name NOT IN (SELECT name FROM new)").rowcount
        changed = database.execute(
            "UPDATE photographs SET label = new.label, sha256 = new.sha256, embedding = new.embedding FROM new "
            "WHERE photographs.name = new.name "
            "AND (photographs.embedding, photographs.label) IS DISTINCT FROM (new.embedding, new.label)"
        ).rowcount
        added = database.execute("INSERT INTO photographs SELECT * FROM new ON CONFLICT DO NOTHING").rowcount
        # pgvector indexes at most 2,000 dimensions; without an index it compares with every row.
        if dim <= 2000:
            kind = OPERATORS[distance][1]
            database.execute(f"CREATE INDEX IF NOT EXISTS nearest ON photographs USING hnsw (embedding {kind})")
    return added, changed, gone


def nearest(file: str, url: str, name: str) -> list[tuple[str, float]]:
    """The photographs nearest to the one with this name, each with its distance, itself left out."""
    operator, _ = OPERATORS[parquet.read_schema(file).metadata[b"distance"].decode()]
    with psycopg.connect(url) as database:
        return database.execute(
            f"SELECT other.name, other.embedding {operator} this.embedding AS distance "
            "FROM photographs AS this, photographs AS other WHERE this.name = %s AND other.name <> this.name "
            "ORDER BY distance, other.name LIMIT %s",
            (name, TOP),
        ).fetchall()


def main() -> None:
    file, url, *names = sys.argv[1:]
    added, changed, gone = load(file, url)
    print(f"{added} added, {changed} changed, {gone} deleted")
    for name in names:
        for other, distance in nearest(file, url, name):
            print(f"{distance:.6f}  {other}")


if __name__ == "__main__":
    main()
