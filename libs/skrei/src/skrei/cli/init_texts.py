"""The files of `skrei job init`: jobs that run as they stand, each line explained. Pure."""

SCHEMA_LINE = "# yaml-language-server: $schema={url}\n"
"""What editors read: they complete from the schema there, and underline what is wrong."""

DOCKER = """\
# A container, once. Run it: skrei run {file}
Name: {name}                # a second submission under this name makes the next version of the job
Type: batch                 # batch: each partition once · ops: once on every node · daemon: on every node, always
Count: 1                    # how many partitions; each finds its number in BACALHAU_PARTITION_INDEX
Labels:
  team: example             # skrei list --labels team=example
# Constraints:              # which nodes; all must hold
#   - Key: region
#     Operator: in          # in, notin, exists, !, =, !=, gt, lt
#     Values: [eu, us]
# FailOn: exit-code         # a program that ends with another code than 0 has failed, and so has its job
Tasks:
  - Name: main
    Engine:
      Type: docker
      Params:
        Image: ubuntu:24.04
        Parameters: [sh, -c, "echo hello; cat /data/* > /outputs/all 2>/dev/null || true"]
        # Entrypoint: [...]         instead of the image's
        # WorkingDirectory: /work   the folder to start in
        # Pull: missing             missing, always, never
    # Env:
    #   GREETING: hello             # upper case; env:NAME takes the node's own, where it allows that
    # InputSources:
    #   - Target: /data             # where the program finds it
    #     Source:
    #       Type: local             # a path of the node; from here it may be relative to this file
    #       Params: {{SourcePath: ./data}}
    ResultPaths:
      - Name: outputs               # skrei get {name} brings a folder of this name
        Path: /outputs
    Resources:
      CPU: 500m                     # thousandths of a core, or cores: 2
      Memory: 256Mb
      # Disk: 1Gb
      # GPU: 1
    # Network:
    #   Type: Bridge                # None, Bridge, Host; HTTP with Domains: [example.com]
    Timeouts:
      ExecutionTimeout: 10m         # how long one execution may run
      QueueTimeout: 1h              # how long to wait for room
"""

WASM = """\
# A WebAssembly module, once. Run it: skrei run {file}
Name: {name}                # a second submission under this name makes the next version of the job
Type: batch
Count: 1                    # how many partitions; each finds its number in BACALHAU_PARTITION_INDEX
Tasks:
  - Name: main
    Engine:
      Type: wasm
      Params:
        EntryModule: /main.wasm     # the target of the input below
        Entrypoint: _start          # the exported function to call
        Parameters: []              # the program's arguments
    InputSources:
      - Target: /main.wasm
        Source:
          Type: inline              # travels with the job; your own module, beside this file:
          # Params: {{File: main.wasm}}
          Params:                   # a module that says hello
            URL: data:application/wasm;base64,{hello}
    # ResultPaths:
    #   - Name: outputs             # skrei get {name} brings a folder of this name
    #     Path: /outputs
    Resources:
      CPU: 500m
      Memory: 256Mb
    Timeouts:
      ExecutionTimeout: 10m
"""

SERVICE = """\
# A program that is kept alive. Start it: skrei run {file} · change it: edit this, run it again
# · back to the version before: skrei job rollback {name}
Name: {name}                # a changed file under this name is rolled out as the next version
Type: service
Count: 1                    # how many replicas: skrei job scale {name} 3
# Constraints:              # which nodes; all must hold
#   - {{Key: region, Operator: "=", Values: [eu]}}
Tasks:
  - Name: main
    Engine:
      Type: docker
      Params:
        Image: ubuntu:24.04
        Parameters: [sh, -c, "while sleep 5; do date; done"]
    # Env:
    #   LEVEL: info                 # upper case
    # Network:
    #   Type: Bridge
    #   Ports:
    #     - {{Name: http, Target: 8080}}   # the node's port is free, or Static: 8080
    # Check:                        # ready when this answers: a rolling update waits for it, or goes back
    #   HTTP: {{Port: http, Path: /}}
    Resources:
      CPU: 500m
      Memory: 256Mb
"""

OPS = """\
# One program on every node that matches now. Run it: skrei run {file}
Name: {name}
Type: ops                   # ops: once on each · daemon: always, also on nodes that join later
Constraints:                # which nodes; all must hold; none is every node
  - Key: os_type
    Operator: "="           # in, notin, exists, !, =, !=, gt, lt
    Values: [linux]
Tasks:
  - Name: main
    Engine:
      Type: docker
      Params:
        Image: ubuntu:24.04
        Parameters: [sh, -c, "uname -a; df -h /"]
    Resources:
      CPU: 100m
      Memory: 64Mb
    Timeouts:
      ExecutionTimeout: 5m
"""

KINDS = {"docker": DOCKER, "wasm": WASM, "service": SERVICE, "ops": OPS}


HELLO = (
    "AGFzbQEAAAABDAJgBH9/f38Bf2AAAAIjARZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxCGZkX3dyaXRlAAADAgEBBQMBAAEHEwIGbWVt"
    "b3J5AgAGX3N0YXJ0AAEKDwENAEEBQQBBAUEQEAAaCwsUAQBBAAsOCAAAAAYAAABoZWxsbwo="
)
"""A module of 128 bytes that writes `hello` by fd_write: who has none of his own yet sees one run."""


def init_text(kind: str, *, name: str, file: str, schema_url: str) -> str:
    """Return the file of a kind, for a job of this name."""
    return SCHEMA_LINE.format(url=schema_url) + KINDS[kind].format(name=name, file=file, hello=HELLO)
