"""The smallest program there is: it waits. Its container holds a network open, before and while another uses it.

An image of it is made here, of a few hundred bytes, so that nothing has to be fetched for a filtered network.
"""

import hashlib
import io
import platform
import struct
import tarfile

PROGRAM = "/wait"
_BASE = 0x400000
_HEADERS = 64 + 56
_LINKS = ("bin", "lib", "lib64")
_CODE = {
    # again: mov eax, 34 (pause); syscall; jmp again
    "x86_64": (62, bytes.fromhex("b822000000 0f05 ebf7".replace(" ", ""))),
    # again: x0 to x3 = 0; x8 = 73 (ppoll); svc 0; b again
    "aarch64": (183, struct.pack("<7I", *(0xD2800000 + n for n in range(4)), 0xD2800928, 0xD4000001, 0x17FFFFFA)),
}


def supported(machine: str = "") -> bool:
    """Whether there is such a program for this machine."""
    return (machine or platform.machine()) in _CODE


def program(machine: str = "") -> bytes:
    """Return the program, an ELF file: one segment, no library, one system call. Raises KeyError."""
    kind, code = _CODE[machine or platform.machine()]
    size = _HEADERS + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    header = struct.pack("<HHIQQQIHHHHHH", 2, kind, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ident + header + segment + code


def image(machine: str = "") -> bytes:
    """Return the root folder of the image, as tar: always the same bytes."""
    data = program(machine)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(PROGRAM.lstrip("/"))
        entry.size, entry.mode = len(data), 0o555
        tar.addfile(entry, io.BytesIO(data))
        for name in _LINKS:  # so that programs of this machine start in it, where its /usr is mounted
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(entry)
    return buffer.getvalue()


def tag(machine: str = "") -> str:
    """Return the name of the image: another program is another image."""
    return hashlib.sha256(image(machine)).hexdigest()[:12]
