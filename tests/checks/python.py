#!/usr/bin/python3
"""Every Python file compiles without a warning, and imports nothing that it does not use."""

import ast
import sys
import warnings
from pathlib import Path

root = Path(__file__).resolve().parents[2]
found = []
files = [p for top in ("tests", "scripts", "bench", "docker") for p in sorted((root / top).rglob("*.py"))
         if "node_modules" not in p.parts]
for path in files:
    text = path.read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            tree = ast.parse(text)
            compile(text, str(path), "exec")
        except (SyntaxError, SyntaxWarning, DeprecationWarning) as error:
            found.append(f"{path.relative_to(root)}: {error}")
            continue
    imported = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                imported[(alias.asname or alias.name).split(".")[0]] = node.lineno
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found += [f"{path.relative_to(root)}:{line}: {name} is imported and not used"
              for name, line in imported.items() if name not in used and name != "*"]
print("\n".join(found + [f"python: {len(files)} files, {len(found)} findings"]))
sys.exit(1 if found or not files else 0)
