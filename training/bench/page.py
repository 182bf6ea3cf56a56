"""stub"""
from typing import Any
def results_of(w: Any) -> Any: return {n: (m.result if (m := w.find(n)) else None) for n in w.parts}
def write_page(*a: Any) -> None: pass
