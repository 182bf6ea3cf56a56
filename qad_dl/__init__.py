"""Queue anomaly detection by deep learning.

What someone imports lives here; what someone starts lives in `training/` or `serving/`.
"""

__version__ = "0.1.0"
