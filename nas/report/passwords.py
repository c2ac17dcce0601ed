"""Hide the password of a storage's URL from those who read a report."""

from __future__ import annotations

import re
from dataclasses import replace

from nas.search.results.result import Setting

# `://user:password@`, up to the last @, as a password may hold an @. Some drivers take it as `?password=` instead.
_PASSWORD = re.compile(r"(://[^:/]*:).*(?=@)|([?&]pass(?:word|wd)?=)[^&]*")


def without_passwords(setting: Setting) -> Setting:
    """`setting` with `***` for the password in the URL of its storage."""
    storage = setting.experiment.get("storage")
    if not isinstance(storage, str):
        return setting
    masked = _PASSWORD.sub(lambda match: f"{match[1] or match[2]}***", storage)
    return replace(setting, experiment={**setting.experiment, "storage": masked})
