"""An uploaded audio file, read from memory: nothing of it touches a disk."""

from __future__ import annotations

import email.parser
import email.policy
import os
from collections.abc import Iterator
from email.message import EmailMessage

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import read_mono
from edge_ser.errors import InputError

__all__ = ["file_of_form", "samples_of"]

Bytes = bytes | bytearray | memoryview
_HEAD_END = b"\r\n\r\n"
_LONGEST_HEAD = 2**14


def file_of_form(content_type: str, body: bytes | bytearray) -> memoryview:
    """The first file in a ``multipart/form-data`` body (RFC 7578), a view of it.

    Raises:
        InputError: there is none.
    """
    head = EmailMessage()
    head["Content-Type"] = content_type
    boundary = head.get_boundary()
    line = b"--" + boundary.encode("latin-1", "replace") if boundary else b""
    begin = body.find(line) if line else -1
    while begin >= 0:
        begin += len(line)
        end = body.find(b"\r\n" + line, begin)
        head_end = body.find(_HEAD_END, begin, begin + _LONGEST_HEAD)
        if end < 0 or not begin <= head_end < end:
            break
        parser = email.parser.BytesParser(policy=email.policy.HTTP)
        part = parser.parsebytes(bytes(body[begin:head_end]).lstrip(b"\r\n"), headersonly=True)
        content = memoryview(body)[head_end + len(_HEAD_END) : end]
        if part.get_filename() is not None and len(content):
            return content
        begin = end + 2
    raise InputError("the form holds no file; send it as: curl -F file=@clip.wav")


def samples_of(content: Bytes, rate_hz: int) -> Iterator[NDArray[np.float32]]:
    """Blocks of the audio file ``content``, as ``edge_ser.audio.read_mono`` gives them.

    Raises:
        InputError: it is empty or no audio.
    """
    if not len(content):
        raise InputError("the upload is empty; send the file as the body or as a form")
    handle = os.memfd_create("upload")  # a file with a name, in memory only
    path = f"/proc/self/fd/{handle}"
    try:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(content)
        yield from read_mono(path, rate_hz)
    except InputError as error:
        raise InputError(str(error).replace(path, "the upload")) from error
    finally:
        os.close(handle)
