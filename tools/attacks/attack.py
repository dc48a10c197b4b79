"""What an attack is: the lie, the files that tell it, and the refusal that it must meet."""
import dataclasses
import os
from typing import Callable, Dict, Optional, Tuple, Union

Files = Union[bytes, Dict[str, Union[bytes, Callable[[str], None]]]]


@dataclasses.dataclass(frozen=True)
class Attack:
    """`make` returns the one file's bytes, or name -> bytes of a folder's files; a function in
    place of bytes is called with the path, to make a link or a file with holes.

    `command`: arguments of the program; {} is the file or folder, {out} a place for output.
    `code` and `says`: the error's code, and a part of its sentence that only this attack meets.
    `about`: the file that the sentence names, of a folder; "" for the file or folder itself.
    `server`: arguments of `serve`, for what is sent to it: the file, or request.http of the folder.
    `code` is then the status and the answer's code, or "closed" for a connection without an answer."""
    group: str
    name: str
    lie: str
    rule: str
    code: str
    says: str
    make: Callable[[], Files]
    ending: str = ""
    command: Tuple[str, ...] = ()
    about: str = ""
    server: Optional[Tuple[str, ...]] = None

    def commands(self):
        """What reads it: a checkpoint is inspected and converted."""
        if self.command:
            return (self.command,)
        return (("inspect", "{}", "--check"), ("convert", "{}", "-o", "{out}", "--check"))

    def request(self, path):
        """What is sent: the content of the file, or of request.http."""
        with open(os.path.join(path, "request.http") if os.path.isdir(path) else path, "rb") as f:
            return f.read()

    def place(self, folder):
        """Where write() puts it."""
        return os.path.join(folder, self.name + self.ending)

    def write(self, folder):
        """Writes it below `folder`; returns the path."""
        path, made = self.place(folder), self.make()
        if isinstance(made, bytes):
            with open(path, "wb") as f:
                f.write(made)
            return path
        for name, content in made.items():
            inner = os.path.join(path, name)
            os.makedirs(os.path.dirname(inner), exist_ok=True)
            if callable(content):
                content(inner)
            else:
                with open(inner, "wb") as f:
                    f.write(content)
        return path


def in_group(group, **common):
    """A maker of attacks of one group."""
    return lambda name, lie, rule, code, says, make, **more: Attack(
        group, name, lie, rule, code, says, make, **{**common, **more})


def holes(size, head=b""):
    """A file of `size` bytes that takes hardly any room on the disk."""
    def write(path):
        with open(path, "wb") as f:
            f.write(head)
            f.truncate(size)
    return write
