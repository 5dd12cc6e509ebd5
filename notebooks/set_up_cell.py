# @title Set up (run this cell first)
import importlib.util
import pathlib
import subprocess
import sys

# In a clone of the repository, this cell finds the package and installs nothing. Elsewhere, it
# installs the package from this address.
REPOSITORY = ""  # @param {type:"string"}

for folder in (pathlib.Path.cwd(), *pathlib.Path.cwd().parents):
    if (folder / "shakespeare_gen" / "__init__.py").is_file():
        sys.path.insert(0, str(folder))
        break
if importlib.util.find_spec("shakespeare_gen") is None:
    if not REPOSITORY:
        raise RuntimeError(
            "shakespeare_gen is not installed. Enter the address of its repository above, such as "
            'REPOSITORY = "https://github.com/OWNER/shakespeare_gen", and run this cell again, or '
            "open this notebook in a clone of the repository."
        )
    package = f"shakespeare_gen[plays,evaluate] @ git+{REPOSITORY}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", package], check=True)
    importlib.invalidate_caches()
