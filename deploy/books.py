"""Put some texts into a bucket, many times over, as one object: `books.py ENDPOINT BUCKET KEY TIMES FILE ...`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import aioboto3


async def put(endpoint: str, bucket: str, key: str, body: bytes) -> None:
    """Store one object, with the credentials that the environment names."""
    async with aioboto3.Session().client("s3", endpoint_url=endpoint) as s3:
        await s3.put_object(Bucket=bucket, Key=key, Body=body)


def main(arguments: Sequence[str]) -> None:
    """Read the files, and store them."""
    endpoint, bucket, key, times, *files = arguments
    text = b"".join(Path(file).read_bytes() for file in files)
    asyncio.run(put(endpoint, bucket, key, text * int(times)))


if __name__ == "__main__":
    main(sys.argv[1:])
