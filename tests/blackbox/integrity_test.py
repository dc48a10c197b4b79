"""--check from outside: every byte that something is recorded of, with one bit flipped, is found and
named; what is whole passes; what nothing speaks of is said."""
import hashlib
import json
import pathlib
import shutil
import unittest
import zipfile

from program import TINY, ProgramTest


def flip(path, at):
    """One bit of the byte at `at`."""
    blob = bytearray(pathlib.Path(path).read_bytes())
    blob[at] ^= 4
    pathlib.Path(path).write_bytes(blob)


class Integrity(ProgramTest):
    def test_a_folder_against_its_manifest(self):
        out = self.dir / "out"
        self.succeed("convert", TINY, "-o", out, "--no-sync", "--sha256")
        files = [row["name"] for row in json.loads((out / "weightbridge.json").read_text())["files"]]
        self.assertIn("model.safetensors", files)
        self.assertIn("config.json", files)
        checked = self.document("inspect", out, "--check")["checked"]
        self.assertEqual(checked["recorded_files"], len(files))
        self.assertIn("are right", self.succeed("inspect", out, "--check").stdout)
        for name in ("model.safetensors", "README.md"):
            whole = (out / name).read_bytes()
            for at in (len(whole) // 2, len(whole) - 1):
                with self.subTest(f"{name} {at}"):
                    flip(out / name, at)
                    error = self.fail_with(3, "hash_mismatch", "inspect", out, "--check")
                    self.assertTrue(error["file"].endswith(name), error)
                    self.assertIn("XXH3-128", error["sentence"])
                    self.succeed("inspect", out)  # without --check nobody reads them
                    (out / name).write_bytes(whole)
        (out / "README.md").write_text("short")
        self.assertIn("size", self.fail_with(3, "hash_mismatch", "inspect", out, "--check")["sentence"])
        (out / "README.md").unlink()
        self.assertIn("presence", self.fail_with(3, "hash_mismatch", "inspect", out, "--check")["sentence"])

    def test_an_archive_against_its_sums(self):
        source = self.dir / "model.pt"
        shutil.copy(TINY, source)
        with zipfile.ZipFile(source) as archive:
            record = max(archive.infolist(), key=lambda i: i.file_size)
        self.assertGreater(self.document("inspect", source, "--check")["checked"]["crc_sums"], 10)
        flip(source, record.header_offset + 200 + record.file_size // 2)
        for command in (("inspect", source, "--check"), ("convert", source, "-o", self.dir / "out", "--check"),
                        ("convert", source, "-o", self.dir / "out")):
            with self.subTest(command[0]):
                error = self.fail_with(3, "zip_crc", *command)
                self.assertIn(record.filename.split("/", 1)[1], error["sentence"])
                self.assertFalse((self.dir / "out").exists())

    def test_a_download_against_what_was_noted(self):
        # A safetensors folder as Hugging Face's downloader leaves one.
        out = self.dir / "out"
        self.succeed("convert", TINY, "-o", out, "--no-sync", "--target", "exact")
        (out / "weightbridge.json").unlink()
        self.assertIn("nothing", self.succeed("inspect", out, "--check").stdout)
        notes = out / ".cache" / "huggingface" / "download"
        notes.mkdir(parents=True)
        weights = out / "model.safetensors"
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        (notes / "model.safetensors.metadata").write_text(f"{'0' * 40}\n{digest}\n1700000000.0\n")
        # Small files have a git hash for a tag, which is no SHA-256 of them.
        (notes / "config.json.metadata").write_text(f"{'0' * 40}\n{'1' * 40}\n1700000000.0\n")
        checked = self.document("inspect", out, "--check")["checked"]
        self.assertEqual(checked["recorded_files"], 1)
        self.assertGreater(checked["files_without_record"], 0)
        flip(weights, weights.stat().st_size - 5)
        error = self.fail_with(3, "hash_mismatch", "inspect", out, "--check")
        self.assertEqual((error["expected"], "SHA-256" in error["sentence"]), (digest, True))


if __name__ == "__main__":
    unittest.main()
