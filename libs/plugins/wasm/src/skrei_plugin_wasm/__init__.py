"""The WebAssembly engine: WASI modules in killable child processes."""
