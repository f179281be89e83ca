"""How much a tree of files holds. On the way of commands that act, and so light to import."""

from __future__ import annotations

import os
import stat


def tree_content(path: str) -> tuple[int, int]:
    """(bytes, files) of what is below path: the files' lengths, a file with several names once; directories are no
    files. Absent is nothing, and so is what vanishes meanwhile."""
    seen: set[tuple[int, int]] = set()
    total = files = 0
    pending = [path]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                rows = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in rows:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if info.st_nlink > 1:
                if (info.st_dev, info.st_ino) in seen:
                    continue
                seen.add((info.st_dev, info.st_ino))
            files += 1
            total += info.st_size if stat.S_ISREG(info.st_mode) else 0
    return total, files
