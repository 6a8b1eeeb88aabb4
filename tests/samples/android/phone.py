"""What a phone has and a JVM has not: LiteRT and SQLite, for the stubs beside this file.

phone.py sqlite FILE SQL            prints the rows as JSON, BLOBs in base64
phone.py interpreter FILE THREADS   writes a byte 1 once the file is open; per image reads its bytes, writes float32
"""

from __future__ import annotations

import base64
import json
import sqlite3
import sys

import numpy as np


def rows(file: str, sql: str) -> str:
    found = sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True).execute(sql).fetchall()
    return json.dumps([[base64.b64encode(v).decode() if isinstance(v, bytes) else v for v in row] for row in found])


def interpret(file: str, threads: int) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=file, num_threads=threads)
    interpreter.allocate_tensors()
    (image,), (embedding,) = interpreter.get_input_details(), interpreter.get_output_details()
    size = int(np.prod(image["shape"]))
    out = sys.stdout.buffer
    out.write(b"\x01")
    out.flush()
    while pixels := sys.stdin.buffer.read(size):
        interpreter.set_tensor(image["index"], np.frombuffer(pixels, np.uint8).reshape(image["shape"]))
        interpreter.invoke()
        out.write(interpreter.get_tensor(embedding["index"]).astype("<f4").tobytes())
        out.flush()


if __name__ == "__main__":
    command, file, argument = sys.argv[1:]
    if command == "sqlite":
        print(rows(file, argument))
    else:
        interpret(file, int(argument))
