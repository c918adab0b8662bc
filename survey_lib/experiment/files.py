"""Write a file in one step: a reader, or a crash, sees the whole file or none."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def replace(path: Path, content: str | bytes) -> Path:
    """Write `content` beside `path`, flush it to the disk, and give it the name. A failure leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path
