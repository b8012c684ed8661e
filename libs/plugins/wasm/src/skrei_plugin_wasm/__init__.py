"""The WebAssembly engine: WASI modules in child processes that can be killed. Only children import wasmtime."""
