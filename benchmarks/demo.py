"""How long the search page's API takes: ``python -m benchmarks.demo BUNDLE``, e.g. ``runs/quickstart``.

Sends one golden image of the bundle 200 times over one connection to its .tflite file and prints the median
(limit 10 ms).
"""

from __future__ import annotations

import http.client
import statistics
import subprocess
import sys
import time
from pathlib import Path

REQUESTS, LIMIT_MS = 200, 10


def main(bundle: Path) -> None:
    picture = next((bundle / "golden/images").glob("*.png")).read_bytes()
    artifact = next((bundle / "artifacts").glob("*.fp32.tflite")).name
    command = [sys.executable, "-m", "compress", "demo", str(bundle), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        connection = http.client.HTTPConnection(server.stdout.readline().split()[0].removeprefix("http://"))
        milliseconds = []
        for number in range(REQUESTS + 1):
            start = time.perf_counter()
            connection.request("POST", f"/search?artifact={artifact}", picture, {"Content-Type": "image/png"})
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            if number:  # the first starts the runtime
                milliseconds.append(1000 * (time.perf_counter() - start))
        server.terminate()
    print(f"POST /search, kept alive: {statistics.median(milliseconds):.2f} ms  (limit {LIMIT_MS})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
