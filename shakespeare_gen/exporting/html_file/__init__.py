"""The writing page of the server as one HTML file, with the model inside.

- `exporter`: the format;
- `content`: what a page holds of a subject; `quantization`: int8 weights and their layout;
- `page`: the file; `bundle`: ES modules in one script; `assembler`: the kernel in WebAssembly;
- `node`: runs the script of a page outside a browser.

`engine` has the model in JavaScript, which runs in a worker; `kernel.wat` is its arithmetic in
SIMD. `page` has the engine that asks the worker; everything else is that of `serving.page`.
"""
