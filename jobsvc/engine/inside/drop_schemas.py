"""Drop schemas of a warehouse: each by its exact name, none by a pattern.

Run as ``python drop_schemas.py REQUEST``, a JSON file: {"schemas": [[database, schema], …],
"dry_run": bool}; an empty database is the profile's own. The last line it says is JSON:
{"error": why nothing could be done, or "", "schemas": [[database, schema, what became of it,
error], …]}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from warehouse import (  # type: ignore[import-not-found]  # beside this script, in the sandbox
    Unreachable,
    opened,
    words_of,
)


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked, and say what became of it."""
    answers = []
    try:
        with opened() as warehouse:
            for database, schema in request["schemas"]:
                answers.append([database, schema, *_drop(warehouse, database, schema, request)])
    except Unreachable as error:
        return {"error": str(error), "schemas": answers}
    return {"error": "", "schemas": answers}


def _drop(warehouse: Any, database: str, schema: str, request: dict[str, Any]) -> tuple[str, str]:
    try:
        if request["dry_run"]:
            there = bool(warehouse.find_schema(database, schema))
            return ("there" if there else "missing"), ""
        return ("dropped" if warehouse.drop_schema(database, schema) else "missing"), ""
    except Exception as error:  # whatever the driver of any database makes of it
        return "failed", words_of(error)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))) + "\n")
