"""Queue anomaly detection by deep learning.

What someone imports lives here; what someone starts lives in `training/` or `serving/`.
"""

import os

__version__ = "0.1.0"

# From 1.29 on, onnxruntime for Linux keeps a database of what it runs in the home of who runs it and sends it to its
# makers. It reads this as it is loaded; whoever wants it otherwise sets it before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
