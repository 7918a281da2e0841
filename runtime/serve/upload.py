"""An uploaded audio file, read from memory: nothing of it touches a disk."""

from __future__ import annotations

import email.parser
import email.policy
import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_ser.audio import read_mono
from edge_ser.errors import InputError

__all__ = ["file_of_form", "samples_of"]


def file_of_form(content_type: str, body: bytes) -> bytes:
    """The first file in a ``multipart/form-data`` body.

    Raises:
        InputError: there is none.
    """
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    for part in form.iter_parts() if form.is_multipart() else ():
        if part.get_filename() is not None:
            content = part.get_payload(decode=True)
            if isinstance(content, bytes) and content:
                return content
    raise InputError("the form holds no file; send it as: curl -F file=@clip.wav")


def samples_of(content: bytes, rate_hz: int) -> Iterator[NDArray[np.float32]]:
    """Blocks of the audio file ``content``, as ``edge_ser.audio.read_mono`` gives them.

    Raises:
        InputError: it is empty or no audio.
    """
    if not content:
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
