"""Runs in the environment of a peer: fits and predicts, by JSON lines on stdin and stdout.

``python worker.py PEER KIND SEED``; needs nothing but the standard library and the peer.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Answer requests until stdin ends."""
    peer, kind, seed = sys.argv[1:]
    # what libraries print must not get between the replies
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(content: dict) -> None:
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    sys.path.insert(0, str(Path(__file__).parent / "models"))
    module = importlib.import_module(peer)
    model = module.Model(kind, int(seed))
    versions = {name: importlib.metadata.version(name) for name in module.PACKAGES}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        versions["GPU"] = torch.cuda.get_device_name()
    reply({"versions": {"python": platform.python_version(), **versions}})
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        if "y" in request:
            model.fit(request["formulas"], request["y"])
            answer = {}
        else:
            answer = {"predictions": [float(value) for value in model.predict(request["formulas"])]}
        answer["seconds"] = time.perf_counter() - start
        # kilobytes on Linux, bytes on macOS
        scale = 1024**2 if sys.platform == "darwin" else 1024
        answer["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
        reply(answer)


if __name__ == "__main__":
    import importlib.metadata

    main()
