"""What a phone has and a JVM has not: LiteRT, for the stub beside this file.

phone.py FILE THREADS   writes a byte 1 once the file is open; per image reads its bytes, writes float32
"""

from __future__ import annotations

import sys

import numpy as np


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
    interpret(sys.argv[1], int(sys.argv[2]))
