#!/usr/bin/env python3
"""sbom.py MAP SOURCE_DIR VERSION OUTPUT: what the program is made of, as SPDX 2.3 JSON.

Found, not listed: the libraries that the linker loaded (its map), and the headers that the sources
include, each by the Debian package that owns it, with its version and licence. A package whose
licence can't be told from its machine-readable copyright file has to be in LICENCES below: else
this fails, so that nothing new comes in unseen. Two libraries are loaded at run time where they
are there, and are named as optional. Needs Debian's dpkg."""
import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

# From the copyright files that are plain text, read by hand.
LICENCES = {
    "libc6": "LGPL-2.1-or-later", "libc6-dev": "LGPL-2.1-or-later",
    "libgcc-s1": "GPL-3.0-or-later WITH GCC-exception-3.1", "libgcc-12-dev": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libstdc++6": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libstdc++-12-dev": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "linux-libc-dev": "GPL-2.0-only WITH Linux-syscall-note",
    "libedit2": "BSD-3-Clause", "libedit-dev": "BSD-3-Clause", "libtinfo6": "X11", "libncurses-dev": "X11",
    "zlib1g": "Zlib", "zlib1g-dev": "Zlib",
    "libopenblas0-pthread": "BSD-3-Clause", "libopenmpi3": "BSD-3-Clause-Open-MPI",
}
# Debian's names of licences (copyright-format 1.0) -> SPDX.
SPDX = {
    "expat": "MIT", "mit": "MIT", "bsd-2-clause": "BSD-2-Clause", "bsd-2": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause", "bsd-3": "BSD-3-Clause", "apache-2.0": "Apache-2.0", "apache-2": "Apache-2.0",
    "expat with embedded exception": "MIT WITH fmt-exception",
    "zlib": "Zlib", "bsl-1.0": "BSL-1.0", "apache-2.0 or bsd-3-clause": "Apache-2.0 OR BSD-3-Clause",
}
OPTIONAL = ("libopenblas0-pthread", "libopenmpi3")


def output_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8").stdout


def linked(map_file):
    """The libraries that the linker took, by the lines of its map: path -> whether it is an archive.
    An archive of tools/static_deps.sh stands for the shared library of the same Debian source."""
    found = {}
    for line in pathlib.Path(map_file).read_text(errors="replace").splitlines():
        if line.startswith("LOAD ") and re.search(r"\.(a|so[.\d]*)$", line):
            path = line.removeprefix("LOAD ").strip()
            archive = path.endswith(".a")
            if "/static-deps/lib/" in path:
                name = pathlib.Path(path).stem
                path = next(map(str, pathlib.Path("/usr/lib").glob(f"*/{name}.so")), path)
            if path.startswith("/usr/") or path.startswith("/lib"):
                found[os.path.realpath(path)] = archive
    return found


def included(source_dir):
    """Headers of the system that the sources include, where the compiler finds them."""
    names = set()
    for path in pathlib.Path(source_dir, "src").rglob("*"):
        if path.suffix in (".cpp", ".h"):
            names.update(re.findall(r"^#include <([^>]+)>", path.read_text(), re.M))
    roots = [pathlib.Path("/usr/include"), *pathlib.Path("/usr/include").glob("*-linux-gnu")]
    return {str(root / name) for name in names for root in roots if (root / name).is_file()}


def packages_of(paths):
    """path -> the package that owns it."""
    found = {}
    text = output_of("dpkg", "-S", *sorted({*paths, *(p.removeprefix("/usr") for p in paths)}))
    for line in text.splitlines():
        owner, _, path = line.partition(": ")
        if owner.startswith("diversion"):
            continue
        found.setdefault(owner.split(",")[0].split(":")[0], set()).add(path)
    return found


def licence(package):
    if package in LICENCES:
        return LICENCES[package]
    path = pathlib.Path("/usr/share/doc", package, "copyright")
    text = path.read_text(errors="replace") if path.exists() else ""
    star = re.search(r"^Files:\s*\*\s*\n(?:.*\n)*?License:\s*(.+)$", text, re.M)
    name = SPDX.get(star.group(1).strip().lower()) if star else None
    if name is None:
        sys.exit(f"sbom.py: the licence of {package} can't be told ({path}); add it to LICENCES")
    return name


def installed(package):
    fields = output_of("dpkg-query", "-W", "-f", "${Version}\t${source:Package}\t${Architecture}\t${Homepage}\n",
                       package).splitlines()
    return fields[0].split("\t") if fields else None


def entry(package):
    version, source, architecture, home = installed(package)
    declared = licence(package)
    reference = declared if declared != "BSD-3-Clause-Open-MPI" else "BSD-3-Clause"
    return {
        "name": package, "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", package), "versionInfo": version,
        "supplier": "Organization: Debian", "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
        "homepage": home or "NOASSERTION", "licenseConcluded": "NOASSERTION", "licenseDeclared": reference,
        "copyrightText": "NOASSERTION", "sourceInfo": f"built from the Debian source package {source}",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                          "referenceLocator": f"pkg:deb/debian/{package}@{version}?arch={architecture}"}],
    }


def main(map_file, source_dir, version, output):
    libraries = linked(map_file)
    by_link, by_include = packages_of(libraries), packages_of(included(source_dir))
    root = {"name": "weightbridge", "SPDXID": "SPDXRef-weightbridge", "versionInfo": version,
            "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "Apache-2.0",
            "licenseDeclared": "Apache-2.0", "copyrightText": "NOASSERTION"}
    packages, relations = [root], [("SPDXRef-DOCUMENT", "DESCRIBES", root["SPDXID"], "")]
    for package in sorted(set(by_link) | set(by_include) | set(OPTIONAL)):
        if installed(package) is None:
            continue
        made = entry(package)
        packages.append(made)
        if package in by_link:
            archive = any(libraries.get(path) or libraries.get("/usr" + path) for path in by_link[package])
            relations.append((root["SPDXID"], "STATIC_LINK" if archive else "DYNAMIC_LINK", made["SPDXID"], ""))
        elif package in by_include:
            relations.append((made["SPDXID"], "BUILD_DEPENDENCY_OF", root["SPDXID"], "its headers are compiled in"))
        else:
            relations.append((made["SPDXID"], "OPTIONAL_DEPENDENCY_OF", root["SPDXID"], "loaded at run time"))
    digest = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()
    stamp = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    created = datetime.datetime.fromtimestamp(stamp, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"weightbridge-{version}", "documentNamespace": f"urn:weightbridge:spdx:{version}:{digest}",
        "creationInfo": {"created": created, "creators": ["Tool: weightbridge-tools/sbom.py"]},
        "packages": packages,
        "relationships": [{"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b,
                           **({"comment": why} if why else {})} for a, kind, b, why in relations],
    }
    pathlib.Path(output).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
