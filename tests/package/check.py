"""check.py BUILD SOURCE_DIR: what `cmake --install` lays down is enough to build and run with.

Installs BUILD into a folder of its own, builds tests/package against it by find_package and the same
source by pkg-config, and compares the folders that both write with the program's. Then the list of
what the program is made of: SPDX's required fields, a licence each, and every library that the
program asks the loader for."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD, SOURCE = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
TINY = SOURCE / "samples" / "tiny" / "tiny-deepseek.pt"


def run(*command, **options):
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                          **options)
    if done.returncode != 0:
        raise AssertionError(" ".join(map(str, command)) + "\n" + done.stdout)
    return done.stdout


def bytes_of(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="weightbridge package "))
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)
        cls.prefix = cls.dir / "prefix"
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)
        cls.program = cls.prefix / "bin" / "weightbridge"
        run(cls.program, "convert", TINY, "-o", cls.dir / "program", "--target", "exact")
        cls.expected = bytes_of(cls.dir / "program")

    def test_find_package(self):
        run("cmake", "-G", "Ninja", "-S", SOURCE / "tests" / "package", "-B", self.dir / "build",
            f"-DCMAKE_PREFIX_PATH={self.prefix}", "-DCMAKE_BUILD_TYPE=Release")
        run("cmake", "--build", self.dir / "build")
        said = run(self.dir / "build" / "example", TINY, self.dir / "by-cmake")
        self.assertRegex(said, r"^[\w-]+: \d+ tensors\n$")
        self.assertEqual(bytes_of(self.dir / "by-cmake"), self.expected)
        failed = subprocess.run([self.dir / "build" / "example", self.dir / "none", self.dir / "out"],
                                stderr=subprocess.PIPE, encoding="utf-8")
        self.assertEqual(failed.returncode, 4)
        self.assertIn("none", failed.stderr)

    def test_pkg_config(self):
        (config,) = self.prefix.glob("lib*/**/pkgconfig")
        environment = dict(os.environ, PKG_CONFIG_PATH=str(config))
        flags = run("pkg-config", "--cflags", "--libs", "weightbridge", env=environment)
        # pkg-config writes a space in a path as "\\ ".
        flags = [f.replace("\\ ", " ") for f in re.findall(r"(?:\\ |\S)+", flags)]
        run("c++", "-std=c++20", SOURCE / "tests" / "package" / "example.cpp", *flags, "-o", self.dir / "example")
        run(self.dir / "example", TINY, self.dir / "by-pkg-config")
        self.assertEqual(bytes_of(self.dir / "by-pkg-config"), self.expected)

    def test_the_header_needs_no_other_of_ours(self):
        headers = sorted(p.name for p in (self.prefix / "include" / "weightbridge").iterdir())
        self.assertEqual(headers, ["version.h", "weightbridge.h"])
        version = run(self.program, "--version").split()[1]
        self.assertIn(f'#define WEIGHTBRIDGE_VERSION "{version}"',
                      (self.prefix / "include" / "weightbridge" / "version.h").read_text())

    def test_sbom(self):
        (path,) = list(self.prefix.glob("share/doc/**/weightbridge.spdx.json")) or (None,)
        if path is None:
            self.skipTest("only a release has the list")
        document = json.loads(path.read_text())
        for key in ("spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo"):
            self.assertTrue(document[key], key)
        packages = {p["name"]: p for p in document["packages"]}
        for name, package in packages.items():
            self.assertRegex(package["licenseDeclared"], r"^[A-Za-z0-9.-]+( (WITH|OR) [A-Za-z0-9.-]+)?$", name)
            self.assertTrue(package["versionInfo"], name)
        ids = {p["SPDXID"] for p in packages.values()} | {"SPDXRef-DOCUMENT"}
        for relation in document["relationships"]:
            self.assertLessEqual({relation["spdxElementId"], relation["relatedSpdxElement"]}, ids)
        # By another way than the script's: what the loader is asked for, each owned by a package.
        needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", self.program))
        libraries = dict(re.findall(r"^\s*(\S+) => (/\S+)", run("ldd", self.program), re.M))
        self.assertGreater(len(needed), 2)
        for name in needed:
            if name not in libraries:  # the loader itself
                continue
            real = os.path.realpath(libraries[name])
            owner = subprocess.run(["dpkg", "-S", real], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   encoding="utf-8").stdout or run("dpkg", "-S", real.removeprefix("/usr"))
            owner = owner.split(":")[0]
            dev = {"libc6": "libc6-dev"}  # the map names the linker script's package too
            self.assertTrue({owner, dev.get(owner, owner)} & set(packages), f"{name} of {owner} is not listed")
        for name in ("libcli11-dev", "nlohmann-json3-dev", "libtomlplusplus-dev"):
            self.assertIn(name, packages)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
