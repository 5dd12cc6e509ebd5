"""The writing page of the server as one HTML file, with the model inside.

- `content`: what a page holds, from runs;
- `quantization`: int8 weights and their layout;
- `page`: the file; `bundle`: ES modules in one script; `assembler`: the kernel in WebAssembly;
- `engine/`: the model in JavaScript, which runs in a worker; `kernel.wat`: its arithmetic in SIMD;
- `page/`: the engine of the page, which asks the worker.
"""
