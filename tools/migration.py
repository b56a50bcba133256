"""``make migration ABOUT="what it is for"``: a migration from the newest schema to the models as they are now.

What it writes is a draft: Alembic sees tables and columns, not what should become of the rows.
"""

import sys
import tempfile
from pathlib import Path

from storage.migrate import make_revision, upgrade


def main() -> None:
    """Write the migration."""
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit('make migration ABOUT="what it is for, in a few words"')
    with tempfile.TemporaryDirectory() as folder:
        # A database of its own: one that is in use may be behind, or have rows.
        url = f"sqlite:///{Path(folder, 'schema.db')}"
        upgrade(url)
        make_revision(url, sys.argv[1].strip())


if __name__ == "__main__":
    main()
