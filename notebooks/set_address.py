"""Sets the address of the repository: writes it to `address.txt`, and rewrites the badge and the
set-up cell of every notebook. Without an address, rewrites the cells only; a new notebook gets them
in this way.

python -m notebooks.set_address https://github.com/OWNER/shakespeare_gen
"""

import argparse
from collections.abc import Sequence

from notebooks import cells


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description="Sets the address from which the notebooks install the package."
    )
    parser.add_argument("address", nargs="?", help="https://…; empty: keep the address")
    given = parser.parse_args(arguments).address
    if given is not None:
        if given and not given.startswith("https://"):
            parser.error(f"address: expected https://…, received {given}")
        path = cells.FOLDER / "address.txt"
        comments = [x for x in path.read_text("utf-8").splitlines() if x.startswith("#")]
        path.write_text("\n".join([*comments, *filter(None, [given])]) + "\n", "utf-8")
    for name in cells.names():
        cells.write(name, cells.with_first_cells(name, cells.read(name)))


if __name__ == "__main__":
    main()
