"""The HTTP server: an API that clients of OpenAI's completions speak, and a page.

- `parameters`: what a request may contain, in one table; `checking`: its validation;
- `endpoints`: the table of all endpoints; `openapi`: the document that describes them;
- `failures`: errors in OpenAI's shape;
- `engine`: a thread that draws the texts of all requests of a model in one batch;
- `admission`: how many requests run and wait;
- `prompts`: states of prompts that were read; `catalog`: the models, loaded on first use;
- `completions`, `scoring`: the endpoints that compute; `cards`: what is told about a model;
- `metrics`: counters for Prometheus;
- `guards`: hosts, origins, keys, sizes, headers; `application`: all of it, in Starlette;
- `server`: uvicorn, signals and draining; `page`: the files at `/`.

Nothing is imported here: the packages of the extra `serve` may be missing.
"""
