"""Read digits with ONNX Runtime: `read.py MODEL FOLDER OUTPUT`; writes and says what the module `classify` does."""

import os
import sys
from pathlib import Path

import numpy
import onnxruntime


def main() -> None:
    """Read this part's files; tell of each how many digits were read right."""
    model, folder, output = (Path(word) for word in sys.argv[1:])
    part, parts = (int(os.environ.get(f"BACALHAU_PARTITION_{name}", default)) for name, default in WHOLE)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    print(f"with ONNX Runtime {onnxruntime.__version__}", flush=True)
    with (output / "answers.txt").open("w") as answers:
        for file in sorted(folder.iterdir())[part::parts]:
            rows = [line.split() for line in file.read_text().splitlines()]
            points = numpy.array([[int(point) for point in row[1]] for row in rows], dtype=numpy.float32) / 9
            read = session.run(None, {"points": points})[0].argmax(1)
            answers.write(f"{file.name} {''.join(str(digit) for digit in read)}\n")
            right = sum(str(digit) == row[0] for digit, row in zip(read, rows, strict=True))
            print(f"{file.name}: {right} of {len(rows)} digits are read right")


WHOLE = (("INDEX", "0"), ("COUNT", "1"))
"""Which part this is, and of how many, where nobody says."""

if __name__ == "__main__":
    main()
